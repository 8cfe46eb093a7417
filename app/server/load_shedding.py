"""Refuses a request from its head alone when too many requests are waiting.

Under overload, time is scarce: what a refusal costs is missing for an answer. So a refused request gets no task, passes
no middleware, and its body is skipped as it arrives. It still gets a request ID, is counted and is logged.
"""

import asyncio

from app.errors import OverloadedError
from app.http.middleware.request_log import get_request_id
from app.http.problems import MEDIA_TYPE, TABLE, make_problem
from app.inference.admission import TOO_MANY_REQUESTS, Admission
from app.observability.logging import AccessLog
from app.observability.metrics import Metrics

# The paths that accept pictures, with the label under which each is counted.
LABELS = {path: path.decode() for path in (b"/predict", b"/predict/batch", b"/read", b"/explain")}
INFER_PREFIX, INFER_SUFFIX = b"/v2/models/", b"/infer"

STATUS, SLUG, TITLE = TABLE[OverloadedError]
PROBLEM = make_problem(STATUS, SLUG, TITLE, TOO_MANY_REQUESTS, request_id="%b").model_dump_json().encode()
PROTOCOL_ERROR = f'{{"error":"{TOO_MANY_REQUESTS}"}}'.encode()
HEADER_LINES = b"content-type: %b\r\nretry-after: %d\r\ncontent-length: %d\r\nx-request-id: %b\r\n"


class LoadShedder:
    """Refuses requests while as many are waiting as allowed."""

    def __init__(self, admission: Admission, metrics: Metrics, log: AccessLog | None) -> None:
        self._admission, self._metrics, self._log = admission, metrics, log
        self._admitted_this_turn = 0  # admission counts them only when the event loop runs their tasks

    def __call__(
        self, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]], client: tuple[str, int] | None
    ) -> tuple[bytes, bytes] | None:
        """Return the header lines and the body of a 503, or None to let the request continue."""
        if method != b"POST":
            return None
        if self._admission.room > self._admitted_this_turn:
            if not self._admitted_this_turn:
                asyncio.get_running_loop().call_soon(self._start_turn)
            self._admitted_this_turn += 1
            return None
        path = url.partition(b"?")[0]
        is_infer = path.startswith(INFER_PREFIX) and path.endswith(INFER_SUFFIX)
        label = "/v2/models/{name}/infer" if is_infer else LABELS.get(path)
        if label is None:
            return None
        request_id = get_request_id(headers)  # needs no escaping
        self._metrics.count_request("POST", label, STATUS, 0.0)
        self._metrics.count_rejection(SLUG)
        if self._log:
            client_name = client[0] if client else "-"
            self._log.write(client_name, "POST", path.decode("latin-1"), STATUS, 0.0, request_id.decode())
        media_type = b"application/json" if is_infer else MEDIA_TYPE.encode()
        body = PROTOCOL_ERROR if is_infer else PROBLEM % request_id
        return HEADER_LINES % (media_type, self._admission.retry_after(), len(body), request_id), body

    def _start_turn(self) -> None:
        self._admitted_this_turn = 0
