"""Refuses a request from its head alone when too many requests are waiting.

Under overload, every microsecond spent on a refusal is lost to an answer. A refused request therefore gets no task and
passes no middleware, and its body is skipped as it arrives. It still gets a request ID, is counted and is logged.
"""

import asyncio
from contextlib import suppress
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.errors import OverloadedError
from app.http.middleware.request_log import get_request_id
from app.http.paths import INFER_LABEL, PICTURE_PATHS, label_path
from app.http.problems import MEDIA_TYPE, TABLE, make_problem
from app.inference.admission import TOO_MANY_REQUESTS, Admission
from app.observability.logging import AccessLog
from app.observability.metrics import Metrics

STATUS, SLUG, TITLE = TABLE[OverloadedError]
PROBLEM = make_problem(STATUS, SLUG, TITLE, TOO_MANY_REQUESTS, request_id="%b").model_dump_json().encode()
PROTOCOL_ERROR = f'{{"error":"{TOO_MANY_REQUESTS}"}}'.encode()
HEADER_LINES = b"content-type: %b\r\nretry-after: %d\r\ncontent-length: %d\r\nx-request-id: %b\r\n"


async def do_nothing(scope: Any, receive: Any, send: Any) -> None:
    """Be the app behind uvicorn's middleware, which only has to find the client."""


class LoadShedder:
    """Refuses requests while the maximum number of requests is waiting."""

    def __init__(
        self, admission: Admission, metrics: Metrics, log: AccessLog | None, trusted_proxies: str = "127.0.0.1"
    ) -> None:
        self._admission, self._metrics, self._log = admission, metrics, log
        self._proxy_headers: Any = ProxyHeadersMiddleware(do_nothing, trusted_proxies)
        self._just_admitted = 0  # in this iteration of the event loop; admission counts them when their tasks run

    def __call__(
        self, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]], client: tuple[str, int] | None
    ) -> tuple[bytes, bytes] | None:
        """Return the header lines and the body of a 503, or None to let the request continue."""
        if method != b"POST":
            return None
        if self._admission.room > self._just_admitted:
            if not self._just_admitted:
                asyncio.get_running_loop().call_soon(setattr, self, "_just_admitted", 0)
            self._just_admitted += 1
            return None
        path = url.partition(b"?")[0].decode("latin-1")
        label = label_path(path)
        is_infer = label == INFER_LABEL
        if not is_infer and label not in PICTURE_PATHS:
            return None
        request_id = get_request_id(headers)  # its characters need no escaping in JSON
        self._metrics.count_request("POST", label, STATUS, 0.0)
        self._metrics.count_rejection(SLUG)
        if self._log:
            self._log.write(self._find_client(client, headers), "POST", path, STATUS, 0.0, request_id.decode())
        media_type = b"application/json" if is_infer else MEDIA_TYPE.encode()
        body = PROTOCOL_ERROR if is_infer else PROBLEM % request_id
        return HEADER_LINES % (media_type, self._admission.retry_after(), len(body), request_id), body

    def _find_client(self, client: tuple[str, int] | None, headers: list[tuple[bytes, bytes]]) -> str:
        """Return the address of the client, behind a proxy that we trust, too."""
        scope: Any = {"type": "http", "scheme": "http", "client": client, "headers": headers}
        with suppress(StopIteration):  # the middleware waits for nothing
            self._proxy_headers(scope, None, None).send(None)
        return scope["client"][0] if scope["client"] else "-"
