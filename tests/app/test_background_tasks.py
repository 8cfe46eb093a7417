"""Tasks that run as long as the service survive an exception, log it and go on."""

import asyncio
import logging
from typing import Any, cast

import pytest
import uvicorn

from app import main
from app.http.state import ServiceState
from app.observability.metrics import Metrics
from app.server import uvicorn_server
from app.server.http_protocol import HttpProtocol


class Connection(HttpProtocol):
    """A connection whose check may fail."""

    def __init__(self, checks: list[str], fails: bool) -> None:
        self._checks, self._fails = checks, fails

    def check(self, now: float) -> None:
        self._checks.append("failed" if self._fails else "checked")
        if self._fails:
            raise RuntimeError("a fault in a check")


def test_a_check_that_fails_ends_no_timeouts(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One connection cannot be checked. The others are checked again and again."""
    monkeypatch.setattr(uvicorn_server, "CHECK_INTERVAL_S", 0.01)
    checks: list[str] = []

    async def serve() -> None:
        server = uvicorn_server.Server(uvicorn.Config(app, port=0, log_config=None), drain_s=0, grace_s=2)
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.01)
        broken, working = Connection(checks, fails=True), Connection(checks, fails=False)
        connections: set[Any] = server.server_state.connections
        connections.update((broken, working))
        await asyncio.sleep(0.3)
        connections.clear()
        server.should_exit = True
        await serving

    asyncio.run(serve())
    assert checks.count("failed") > 2
    assert checks.count("checked") > 2
    assert "a fault in a check" in caplog.text


async def app(scope: dict[str, object], receive: object, send: object) -> None:
    """An app without a lifespan."""
    raise NotImplementedError


class UnreliableService:
    """A service whose first update fails, as with a file that cannot be written."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.updates = 0

    def update_queue_size(self) -> None:
        self.updates += 1
        if self.updates == 1:
            raise OSError("no space left")


def test_an_update_of_the_metrics_that_fails_is_not_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the next one follows."""
    monkeypatch.setattr(main, "FLUSH_INTERVAL_S", 0.01)
    service = UnreliableService()

    async def flush_for_a_while() -> None:
        task = asyncio.create_task(main.flush_metrics(cast(ServiceState, service)))
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with caplog.at_level(logging.ERROR):
        asyncio.run(flush_for_a_while())
    assert service.updates > 2
    assert "no space left" in caplog.text
