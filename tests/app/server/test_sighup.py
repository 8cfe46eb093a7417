"""SIGHUP: it reloads the model, except when the terminal has closed."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from app.inference.model_folder import ModelFolder
from app.server.sighup import SighupHandler
from tests.app.server.test_workers import workers_of
from tests.support.reloading import point_link, reload_model
from tests.support.running import ROOT, clean_environment, running

pytestmark = pytest.mark.slow


def test_each_worker_reloads_its_model(tmp_path: Path, released: ModelFolder) -> None:
    """SIGHUP to the supervisor reaches all workers. They stay the same processes."""
    link = tmp_path / "model"
    link.symlink_to(released.folder)
    with running("--workers", "2", DIGITS_MODEL=str(link)) as server:
        before = workers_of(server)
        point_link(link, ROOT / "models" / "textbook-1.0.0")
        reload_model(server)
        deadline = time.monotonic() + 30
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


# Serves in a terminal of its own, which closes as soon as the service runs.
TERMINAL = """
import os, pty, signal, sys
pid, terminal = pty.fork()
if not pid:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # even if pytest runs under nohup
    os.execv(sys.executable, [sys.executable, "-m", "app", "serve", "--port", "0", *sys.argv[1:]])
text = b""
while b"is ready" not in text:
    text += os.read(terminal, 4096)
print(pid)
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_service_ends_with_its_terminal(workers: str) -> None:
    """A service that was started in a window ends when the window is closed, with all its workers."""
    done = subprocess.run(
        [sys.executable, "-c", TERMINAL, "--workers", workers],
        cwd=ROOT,
        env=clean_environment(DIGITS_DRAIN_MS="0"),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    session = int(done.stdout)  # pty.fork makes the service the first process of a session
    try:
        deadline = time.monotonic() + 30
        while members := list_session(session):
            assert time.monotonic() < deadline, members
            time.sleep(0.05)
    finally:
        for pid in list_session(session):
            os.kill(pid, signal.SIGKILL)


def list_session(session: int) -> list[int]:
    """Return the running processes of a session."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, its_session = stat.read_text().rpartition(") ")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                members.append(int(stat.parent.name))
    return members
