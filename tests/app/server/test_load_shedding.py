"""What is said to a request that there is no room for, from its head alone."""

import asyncio
import io
import json
from typing import Any

import pytest

from app.http import problems
from app.inference.admission import TOO_MANY_REQUESTS, Admission
from app.errors import OverloadedError
from app.observability.logging import AccessLog
from app.observability.metrics import Metrics
from app.server.load_shedding import Shed

HEADERS = [(b"host", b"x"), (b"x-request-id", b"r1")]


class Lines(AccessLog):
    """An access log that keeps its lines."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.written: list[tuple[Any, ...]] = []

    def write(self, *line: Any) -> None:
        self.written.append(line)


def full() -> tuple[Shed, Metrics, Lines]:
    """A shed while the one request that may wait does."""
    admission, metrics, log = Admission(1, 1, 1), Metrics(), Lines()
    admission.enter()
    return Shed(admission, metrics, log), metrics, log


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/read", "/explain", "/v2/models/digitnet/infer"])
def test_it_says_what_the_table_does(path: str) -> None:
    """Body and headers are those of any other way to 503, with the client's own id; it is counted and logged."""
    shed, metrics, log = full()
    refusal = shed(b"POST", path.encode() + b"?normalize=never", HEADERS, ("127.0.0.1", 1))
    assert refusal
    lines, body = refusal
    assert lines.endswith(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines.splitlines())
    scope = {"type": "http", "path": path, "root_path": "", "state": {"request_id": "r1"}}
    expected = problems.answer_to(scope, OverloadedError(TOO_MANY))
    assert json.loads(body) == json.loads(bytes(expected.body))
    assert headers == {name.lower(): value for name, value in expected.raw_headers} | {
        b"content-length": b"%d" % len(body),
        b"x-request-id": b"r1",
    }
    assert log.written == [("127.0.0.1", "POST", path, 503, 0.0, "r1")]
    assert 'digits_requests_rejected_total{reason="overloaded"} 1.0' in metrics.render().decode()


@pytest.mark.parametrize(
    ("method", "url"),
    [(b"GET", b"/readyz"), (b"GET", b"/predict"), (b"POST", b"/nothing"), (b"GET", b"/metrics"), (b"POST", b"/v2")],
)
def test_what_takes_no_picture_goes_on(method: bytes, url: bytes) -> None:
    """Health, metrics and pages are never refused for want of room, nor what would not be read anyway."""
    assert full()[0](method, url, HEADERS, None) is None


def test_where_there_is_room_all_go_on() -> None:
    """It speaks only while as many wait as may; those of a turn of the loop count before they have entered."""
    shed = Shed(Admission(2, 1, 1), Metrics(), None)

    async def ask(times: int) -> list[bool]:
        return [shed(b"POST", b"/predict", HEADERS, None) is None for _ in range(times)]

    async def ask_in_two_turns() -> list[bool]:
        first = await ask(3)
        await asyncio.sleep(0)
        return first + await ask(1)

    assert asyncio.run(ask_in_two_turns()) == [True, True, False, True]
