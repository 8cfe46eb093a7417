"""Refuses a request from its head alone when too many requests are waiting.

Under overload, every microsecond spent on a refusal is lost to an answer. A refused request therefore gets no task and
passes no middleware, and its body is skipped as it arrives. It still gets a request ID, is counted and is logged.
"""

import asyncio

from app.errors import OverloadedError
from app.http.middleware.request_log import get_request_id
from app.http.paths import INFER_LABEL, PICTURE_PATHS, label_path
from app.http.problems import MEDIA_TYPE, TABLE, make_problem
from app.inference.admission import TOO_MANY_REQUESTS, Admission
from app.observability.logging import AccessLog
from app.observability.metrics import Metrics
from app.server.client_address import Client, ClientFinder
from app.server.exchange import RequestHead

STATUS, SLUG, TITLE = TABLE[OverloadedError]
PROBLEM = make_problem(STATUS, SLUG, TITLE, TOO_MANY_REQUESTS, request_id="%b").model_dump_json().encode()
PROTOCOL_ERROR = f'{{"error":"{TOO_MANY_REQUESTS}"}}'.encode()
HEADER_LINES = b"content-type: %b\r\nretry-after: %d\r\nx-request-id: %b\r\n"


class LoadShedder:
    """Refuses requests while the maximum number of requests is waiting."""

    def __init__(
        self, admission: Admission, metrics: Metrics, log: AccessLog | None, find_client: ClientFinder
    ) -> None:
        self._admission, self._metrics, self._log, self._find_client = admission, metrics, log, find_client
        self._just_admitted = 0  # in this iteration of the event loop; admission counts them when their tasks run

    def __call__(self, head: RequestHead, client: Client) -> tuple[bytes, bytes] | None:
        """Return the header lines and the body of a 503, or None to let the request continue."""
        if head.method != b"POST":
            return None
        if self._admission.room > self._just_admitted:
            if not self._just_admitted:
                asyncio.get_running_loop().call_soon(setattr, self, "_just_admitted", 0)
            self._just_admitted += 1
            return None
        path = head.url.partition(b"?")[0].decode("latin-1")
        label = label_path(path)
        if label == INFER_LABEL or label in PICTURE_PATHS:
            return self.refuse(head, client, path, label)
        return None

    def refuse(self, head: RequestHead, client: Client, path: str, label: str) -> tuple[bytes, bytes]:
        """Return the header lines and the body of a 503. Count and log it."""
        request_id = get_request_id(head.headers)  # its characters need no escaping in JSON
        self._metrics.count_request("POST", label, STATUS, 0.0)
        self._metrics.count_rejection(SLUG)
        if self._log:
            self._log.write(self._find_client(client, head.headers), "POST", path, STATUS, 0.0, request_id.decode())
        is_infer = label == INFER_LABEL
        media_type = b"application/json" if is_infer else MEDIA_TYPE.encode()
        body = PROTOCOL_ERROR if is_infer else PROBLEM % request_id
        return HEADER_LINES % (media_type, self._admission.retry_after(), request_id), body
