"""Every request has an ID in its response, and is counted under a limited set of labels."""

import asyncio
import re

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from app.http.middleware.request_log import RequestLog
from app.observability.metrics import Metrics
from tests.support.running import Server


def test_a_valid_id_of_the_client_is_kept(server: Server) -> None:
    """The X-Request-ID of a request is in its response, also in a problem."""
    for path in ("/livez", "/nothing"):
        answer = httpx.get(server.url + path, headers={"X-Request-ID": "order-7.A_b"})
        assert answer.headers["X-Request-ID"] == "order-7.A_b"
    assert answer.json()["request_id"] == "order-7.A_b"


@pytest.mark.parametrize("id", ["", "a b", "x" * 65, 'a"b', "<script>", "a;b"])
def test_any_other_id_is_replaced(server: Server, id: str) -> None:
    """An ID that could do harm in a log is not used."""
    answer = httpx.get(f"{server.url}/livez", headers={"X-Request-ID": id})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"])


def test_every_request_has_its_own_id(server: Server) -> None:
    """Twenty requests have twenty IDs."""
    with httpx.Client(base_url=server.url) as client:
        assert len({client.get("/livez").headers["X-Request-ID"] for _ in range(20)}) == 20


def test_a_cancelled_request_is_counted() -> None:
    """A request without a response is counted as a 499, as in nginx, and is no longer in flight."""
    metrics = Metrics()

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    async def ask() -> None:
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
        await RequestLog(never, metrics, None)(scope, receive=None, send=None)  # type: ignore[arg-type]  # neither is used

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(ask())
    text = metrics.render().decode()
    assert 'http_requests_total{method="POST",path="other",status="499"} 1.0' in text
    assert "http_requests_in_flight 0.0" in text


def test_the_number_of_labels_is_limited() -> None:
    """Made-up methods and paths share a label, so that no client can fill the memory with counters."""
    metrics = Metrics()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})

    async def swallow(message: Message) -> None:
        pass

    async def ask(method: str, path: str) -> None:
        scope = {"type": "http", "method": method, "path": path, "headers": []}
        await RequestLog(answer, metrics, None)(scope, receive=None, send=swallow)  # type: ignore[arg-type]  # unused

    for number in range(50):
        asyncio.run(ask(f"M{number}", f"/{number}"))
    assert 'http_requests_total{method="other",path="other",status="404"} 50.0' in metrics.render().decode()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/info", "/metrics", "/nothing", "/v2"])
def test_no_cache_stores_an_answer(server: Server, path: str) -> None:
    """A shared cache must not store whether the service is ready, and a browser must not guess another type."""
    headers = httpx.get(server.url + path).headers
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


@pytest.mark.parametrize("id", ["Root=1-67891233-abcdef012345678912345678", "0HN1:00000001", "a/b+c"])
def test_the_ids_of_other_systems_are_kept(server: Server, id: str) -> None:
    """AWS and ASP.NET have "=", ":" and "/" in their IDs."""
    assert httpx.get(f"{server.url}/livez", headers={"X-Request-ID": id}).headers["X-Request-ID"] == id
