"""What is said to a request that there is no room for, from its head alone.

When this is needed there is no time to lose, and what is not done for one that is refused is done for one that is
answered: no task is made for it, no middleware sees it, and its body is passed over as it comes. It has its id, its
count and its line in the log all the same.
"""

import asyncio

from app.admission import TOO_MANY, Admission
from app.errors import OverloadedError
from app.log import AccessLog
from app.metrics import Metrics
from app.observe import request_id_of
from app.problems import TABLE

# What takes pictures, and so may be refused; the label of each is what it is counted under.
LABELS = {path: path.decode() for path in (b"/predict", b"/predict/batch", b"/read", b"/explain")}
INFER = b"/v2/models/", b"/infer"

_, SLUG, TITLE = TABLE[OverloadedError]
PROBLEM = (
    f'{{"type":"urn:problem-type:digitserve:{SLUG}","title":"{TITLE}","status":503,"detail":"{TOO_MANY}",'
    '"request_id":"%b"}'
).encode()
PROTOCOL_ERROR = f'{{"error":"{TOO_MANY}"}}'.encode()
LINES = b"content-type: %b\r\nretry-after: %d\r\ncontent-length: %d\r\nx-request-id: %b\r\n"


class Shed:
    """Refuses, while as many requests wait as may."""

    def __init__(self, admission: Admission, metrics: Metrics, log: AccessLog | None) -> None:
        self._admission, self._metrics, self._log = admission, metrics, log
        self._let_past = 0  # in this turn of the event loop: they count as soon as it runs what they are to it

    def __call__(
        self, method: bytes, url: bytes, headers: list[tuple[bytes, bytes]], client: tuple[str, int] | None
    ) -> tuple[bytes, bytes] | None:
        """The lines of the headers and the body of a 503, or None where the request should go on."""
        if method != b"POST":
            return None
        if self._admission.room > self._let_past:
            if not self._let_past:
                asyncio.get_running_loop().call_soon(self._turned)
            self._let_past += 1
            return None
        path = url.partition(b"?")[0]
        protocol = path.startswith(INFER[0]) and path.endswith(INFER[1])
        label = "/v2/models/{name}/infer" if protocol else LABELS.get(path)
        if label is None:
            return None
        request_id = request_id_of(headers)  # a sane token: nothing to escape
        self._metrics.answered("POST", label, 503, 0.0)
        self._metrics.rejected(SLUG)
        if self._log:
            client_name = client[0] if client else "-"
            self._log.write(client_name, "POST", path.decode("latin-1"), 503, 0.0, request_id.decode())
        kind = b"application/json" if protocol else b"application/problem+json"
        body = PROTOCOL_ERROR if protocol else PROBLEM % request_id
        return LINES % (kind, self._admission.retry_after(), len(body), request_id), body

    def _turned(self) -> None:
        self._let_past = 0
