"""What every request gets: an id in its answer, and a count under bounded labels."""

import asyncio
import re

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from app.observability.metrics import Metrics
from app.http.middleware.request_log import Observe
from tests.support.running import Server


def test_a_sane_id_is_the_client_s_own(server: Server) -> None:
    """What a client sends as X-Request-ID comes back, in answers and in problems."""
    for path in ("/livez", "/nothing"):
        answer = httpx.get(server.url + path, headers={"X-Request-ID": "order-7.A_b"})
        assert answer.headers["X-Request-ID"] == "order-7.A_b"
    assert answer.json()["request_id"] == "order-7.A_b"


@pytest.mark.parametrize("id", ["", "a b", "x" * 65, 'a"b', "<script>", "a;b"])
def test_any_other_id_is_replaced(server: Server, id: str) -> None:
    """A token that could do harm in a log is not taken over."""
    answer = httpx.get(f"{server.url}/livez", headers={"X-Request-ID": id})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"])


def test_ids_are_new_each_time(server: Server) -> None:
    """Two requests have two ids."""
    with httpx.Client(base_url=server.url) as client:
        assert len({client.get("/livez").headers["X-Request-ID"] for _ in range(20)}) == 20


def test_who_goes_away_is_counted_as_gone() -> None:
    """A request that nobody waits for any more is a 499 in the counts, as nginx has it, and is in flight no more."""
    metrics = Metrics()

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    async def ask() -> None:
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
        await Observe(never, metrics, None)(scope, receive=None, send=None)  # type: ignore[arg-type]  # neither is used

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(ask())
    text = metrics.render().decode()
    assert 'http_requests_total{method="POST",path="other",status="499"} 1.0' in text
    assert "http_requests_in_flight 0.0" in text


def test_labels_are_bounded() -> None:
    """Made-up methods and addresses share a label, so that no client fills the memory with counts."""
    metrics = Metrics()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})

    async def swallow(message: Message) -> None:
        pass

    async def ask(method: str, path: str) -> None:
        scope = {"type": "http", "method": method, "path": path, "headers": []}
        await Observe(answer, metrics, None)(scope, receive=None, send=swallow)  # type: ignore[arg-type]  # unused

    for number in range(50):
        asyncio.run(ask(f"M{number}", f"/{number}"))
    assert 'http_requests_total{method="other",path="other",status="404"} 50.0' in metrics.render().decode()
