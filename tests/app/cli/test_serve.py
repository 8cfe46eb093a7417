"""``digitserve serve`` and ``make serve`` as a person at a terminal sees them."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.running import ROOT, clean_environment, run_app, running
from tests.support.terminal import run_in_terminal

SERVE = [sys.executable, "-W", "error", "-m", "app", "serve"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_terminal_shows_a_frame_with_the_addresses(workers: str) -> None:
    """The frame is closed, the addresses in it answer, and Ctrl-C ends the service with status 0."""
    port = free_port()
    with run_in_terminal([*SERVE, "--port", str(port), "--workers", workers], DIGITS_DRAIN_MS="0") as terminal:
        terminal.wait_for("╯")
        *_, top, ready, docs, stop, bottom = terminal.seen[: terminal.seen.index("╯") + 1].splitlines()
        assert ready == f"│ digitserve is ready: http://localhost:{port}/ │"
        assert docs == f"│ {f'docs: http://localhost:{port}/docs':<{len(ready) - 4}} │"
        assert stop == f"│ {'Ctrl-C stops it':<{len(ready) - 4}} │"
        assert (top, bottom) == (f"╭{'─' * (len(ready) - 2)}╮", f"╰{'─' * (len(ready) - 2)}╯")
        for path in ("/", "/docs"):
            httpx.get(f"http://localhost:{port}{path}").raise_for_status()
        terminal.press_ctrl_c()
        assert terminal.wait_for_end() == 0
        assert "Traceback" not in terminal.seen


def test_a_pipe_gets_json_instead() -> None:
    """Without a terminal, the log is one JSON object per line, without a frame."""
    with running() as server:
        log = server.wait_for_log("running on")
    assert f'"message": "running on {server.url} (Ctrl-C stops it)"' in log
    assert all(line.startswith("{") for line in log.splitlines())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_found_before_the_model_is_loaded(workers: str) -> None:
    """One line names the setting and the next port that is free. A model that does not exist is not looked for."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run_app("serve", "--port", str(port), "--model", "/nowhere", "--workers", workers)
    assert (done.returncode, done.stdout) == (3, "")
    found = re.search(r"Port (\d+) is free", done.stderr)
    assert found
    free = int(found[1])
    assert free > port
    (printed,) = re.findall(r"^digitserve: cannot listen .*\n", (ROOT / "docs" / "command-line.md").read_text(), re.M)
    assert done.stderr == printed.replace("8000", str(port)).replace("8001", str(free))
    with socket.create_server(("127.0.0.1", free)):
        pass


@pytest.fixture
def fake_environment(tmp_path: Path) -> Path:
    """A virtual environment whose pip only says how it was called, and which otherwise runs this Python."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nif [ "$2" = pip ]; then echo "$@"; else exec {sys.executable} "$@"; fi\n')
    python.chmod(0o755)
    return tmp_path


def test_make_serve_installs_with_progress_on_a_terminal(fake_environment: Path) -> None:
    """The first call says what it installs and lets pip show its progress, and then the service is ready."""
    port = str(free_port())
    command = ["make", "serve", f"VENV={fake_environment}"]
    with run_in_terminal(command, DIGITS_PORT=port, DIGITS_DRAIN_MS="0") as terminal:
        terminal.wait_for("digitserve is ready")
        first, pip, *_ = terminal.seen.splitlines()
        assert first.startswith("==> Installing the service into ")
        assert pip == "-m pip install -e ."
        terminal.press_ctrl_c()
        terminal.wait_for_end()
    with run_in_terminal(command, DIGITS_PORT=port, DIGITS_DRAIN_MS="0") as terminal:
        terminal.wait_for("digitserve is ready")
        assert "install" not in terminal.seen.lower()


def test_make_serve_is_quiet_in_a_pipe(fake_environment: Path) -> None:
    """pip says nothing then, unless it fails."""
    done = subprocess.run(
        ["make", "serve", f"VENV={fake_environment}"],
        cwd=ROOT,
        env=clean_environment(DIGITS_PORT="x"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "-m pip install -q -e ." in done.stdout
    assert "setting port (DIGITS_PORT)" in done.stderr
