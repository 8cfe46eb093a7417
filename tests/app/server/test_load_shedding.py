"""Refusals from the head of a request alone, when the service is full."""

import asyncio
import json
from typing import Any

import pytest

from app.errors import OverloadedError
from app.http import problems
from app.inference.admission import TOO_MANY_REQUESTS, Admission
from app.observability.logging import AccessLog
from app.observability.metrics import Metrics
from app.server.client_address import ClientFinder
from app.server.exchange import RequestHead
from app.server.load_shedding import LoadShedder

HEADERS = [(b"host", b"x"), (b"x-request-id", b"r1")]


def post(url: bytes = b"/predict", headers: list[tuple[bytes, bytes]] = HEADERS) -> RequestHead:
    return RequestHead(b"POST", url, "1.1", headers)


class RecordingLog(AccessLog):
    """An access log that keeps its lines, and writes none."""

    def __init__(self) -> None:
        self.written: list[tuple[Any, ...]] = []

    def write(self, *line: Any) -> None:
        self.written.append(line)


def full_shedder() -> tuple[LoadShedder, Metrics, RecordingLog]:
    """A load shedder of a service in which one request may wait, and one does."""
    admission, metrics, log = Admission(1, 1, 1), Metrics(), RecordingLog()
    admission.enter()
    return LoadShedder(admission, metrics, log, ClientFinder()), metrics, log


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/read", "/explain", "/v2/models/digitnet/infer"])
def test_a_refusal_equals_the_usual_503(path: str) -> None:
    """Body and headers are those of every other 503, with the client's request ID. It is counted and logged."""
    shed, metrics, log = full_shedder()
    refusal = shed(post(path.encode() + b"?normalize=never"), ("127.0.0.1", 1))
    assert refusal
    lines, body = refusal
    assert lines.endswith(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines.splitlines())
    scope = {"type": "http", "path": path, "root_path": "", "state": {"request_id": "r1"}}
    expected = problems.problem_response(scope, OverloadedError(TOO_MANY_REQUESTS))
    assert json.loads(body) == json.loads(bytes(expected.body))
    assert headers == {name.lower(): value for name, value in expected.raw_headers if name != b"content-length"} | {
        b"x-request-id": b"r1",
    }
    assert log.written == [("127.0.0.1", "POST", path, 503, 0.0, "r1")]
    assert 'digits_requests_rejected_total{reason="overloaded"} 1.0' in metrics.render().decode()


@pytest.mark.parametrize(("peer", "logged"), [("127.0.0.1", "203.0.113.9"), ("198.51.100.1", "198.51.100.1")])
def test_the_log_has_the_client_behind_a_trusted_proxy(peer: str, logged: str) -> None:
    """Only a proxy that is trusted may say who the client is."""
    shed, _, log = full_shedder()
    assert shed(post(headers=[*HEADERS, (b"x-forwarded-for", b"203.0.113.9")]), (peer, 1))
    assert log.written[0][0] == logged


def test_a_refusal_is_counted_and_has_no_latency() -> None:
    """Refusals take no time. In the histogram they would make an overloaded service look fast."""
    shed, metrics, _ = full_shedder()
    assert shed(post(), None)
    metrics.count_request("POST", "/predict", 200, 0.02)
    text = metrics.render().decode()
    assert 'http_requests_total{method="POST",path="/predict",status="503"} 1.0' in text
    assert 'http_request_duration_seconds_count{path="/predict"} 1.0' in text


@pytest.mark.parametrize(
    ("method", "url"),
    [(b"GET", b"/readyz"), (b"GET", b"/predict"), (b"POST", b"/nothing"), (b"GET", b"/metrics"), (b"POST", b"/v2")],
)
def test_only_requests_with_pictures_are_refused(method: bytes, url: bytes) -> None:
    """Health checks, metrics, pages and unknown paths are never refused because of load."""
    assert full_shedder()[0](RequestHead(method, url, "1.1", HEADERS), None) is None


def test_requests_pass_while_there_is_room() -> None:
    """Two of three pass if two may wait. Requests of the same loop iteration count before their tasks run."""
    shed = LoadShedder(Admission(2, 1, 1), Metrics(), None, ClientFinder())

    async def ask(times: int) -> list[bool]:
        return [shed(post(), None) is None for _ in range(times)]

    async def ask_in_two_iterations() -> list[bool]:
        first = await ask(3)
        await asyncio.sleep(0)
        return first + await ask(1)

    assert asyncio.run(ask_in_two_iterations()) == [True, True, False, True]
