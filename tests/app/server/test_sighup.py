"""SIGHUP: it reloads the model, except when the terminal has closed."""

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from app.inference.model_folder import ModelFolder
from app.server.sighup import SighupHandler
from tests.app.server.test_workers import workers_of
from tests.support.reloading import point_link, reload_model
from tests.support.running import ROOT, running

pytestmark = pytest.mark.serial  # measures times


def test_each_worker_reloads_its_model(tmp_path: Path, released: ModelFolder) -> None:
    """SIGHUP to the supervisor reaches all workers. They stay the same processes."""
    link = tmp_path / "model"
    link.symlink_to(released.folder)
    with running("--workers", "2", DIGITS_MODEL=str(link)) as server:
        before = workers_of(server)
        point_link(link, ROOT / "models" / "textbook-1.0.0")
        reload_model(server)
        deadline = time.monotonic() + 10
        while {httpx.get(f"{server.url}/info").json()["model"]["name"] for _ in range(12)} != {"textbook"}:
            assert time.monotonic() < deadline
        assert workers_of(server) == before


@pytest.mark.parametrize(
    ("had_terminal", "has_terminal", "reloads"), [(False, False, True), (True, True, True), (True, False, False)]
)
def test_a_closed_terminal_stops_the_service(
    monkeypatch: pytest.MonkeyPatch, had_terminal: bool, has_terminal: bool, reloads: bool
) -> None:
    """SIGHUP from a terminal that closes stops the service. Any other SIGHUP reloads the model."""
    actions: list[str] = []
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)  # even if pytest runs under nohup
    monkeypatch.setattr("app.server.sighup.has_terminal", lambda: had_terminal)
    handler = SighupHandler(lambda: actions.append("reload"))
    monkeypatch.setattr("app.server.sighup.has_terminal", lambda: has_terminal)
    monkeypatch.setattr(os, "kill", lambda pid, number: actions.append("stop"))
    handler()
    assert actions == (["reload"] if reloads else ["stop"])
