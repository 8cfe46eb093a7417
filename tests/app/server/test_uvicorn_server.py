"""The server's end: in steps, in time, and with nothing lost."""

import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.support.pictures import Grey, png
from tests.support.running import ROOT, Server, running


def ended(server: Server) -> float:
    """Wait for the end of the process, and give the seconds that it took."""
    began = time.monotonic()
    while time.monotonic() < began + 20:
        with suppress(ChildProcessError):
            if os.waitpid(server.pid, os.WNOHANG)[0]:
                return time.monotonic() - began
        time.sleep(0.01)
    raise TimeoutError("it does not end")


@contextmanager
def load(server: Server, body: bytes, keep_alive: bool) -> Iterator[Counter[str]]:
    """Four clients that send until nobody listens any more; what became of each request."""
    outcomes: Counter[str] = Counter()

    def send() -> None:
        limits = httpx.Limits(max_keepalive_connections=None if keep_alive else 0)
        with httpx.Client(limits=limits, timeout=20) as client:
            while True:
                try:
                    answer = client.post(f"{server.url}/predict", files={"file": body})
                except httpx.ConnectError:
                    return  # it does not listen: nothing was sent
                except httpx.HTTPError as error:
                    outcomes[type(error).__name__] += 1
                else:
                    outcomes[str(answer.status_code)] += 1

    threads = [threading.Thread(target=send, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    yield outcomes
    for thread in threads:
        thread.join(timeout=30)


@pytest.mark.parametrize("keep_alive", [True, False], ids=["connections kept", "a connection each"])
def test_a_stop_under_load_loses_nothing(seven: Grey, keep_alive: bool) -> None:
    """From SIGTERM on the service is not ready and closes connections after answers, and every request is answered."""
    with running(DIGITS_DRAIN_MS="2500") as server, load(server, png(seven), keep_alive) as outcomes:
        time.sleep(0.5)
        os.kill(server.pid, signal.SIGTERM)
        time.sleep(0.3)
        ready = httpx.get(f"{server.url}/readyz")
        assert (ready.status_code, ready.headers["connection"]) == (503, "close")
        alive = httpx.get(f"{server.url}/livez")
        assert (alive.status_code, alive.headers["connection"]) == (200, "close")
        before = outcomes["200"]
        assert ended(server) < 8
        assert outcomes["200"] > before
    assert set(outcomes) == {"200"}


def test_a_stuck_upload_does_not_hold_the_end_up(seven: Grey) -> None:
    """The process ends within its grace, however long somebody's upload would take."""
    with (
        running(DIGITS_DRAIN_MS="300", DIGITS_GRACE_S="3") as server,
        socket.create_connection(("127.0.0.1", server.port)) as stuck,
    ):
        stuck.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        assert httpx.post(f"{server.url}/predict", files={"file": png(seven)}).status_code == 200
        os.kill(server.pid, signal.SIGTERM)
        assert ended(server) < 3.5


def test_ctrl_c_does_not_wait() -> None:
    """SIGINT is somebody at a terminal: there is nobody to be told."""
    with running(DIGITS_DRAIN_MS="10000") as server:
        os.kill(server.pid, signal.SIGINT)
        assert ended(server) < 2


def test_a_second_signal_ends_the_wait() -> None:
    """Whoever is in a hurry says it twice."""
    with running(DIGITS_DRAIN_MS="10000") as server:
        os.kill(server.pid, signal.SIGTERM)
        time.sleep(0.2)
        assert httpx.get(f"{server.url}/livez").status_code == 200
        os.kill(server.pid, signal.SIGTERM)
        assert ended(server) < 2


@pytest.mark.parametrize("when", ["as the app is made", "as it starts"])
def test_a_signal_that_comes_too_early_ends_it(when: str) -> None:
    """Nobody can have found the service ready: it ends at once and in order, and serves on for nobody."""
    script = """
import os, signal, sys, uvicorn
from app.server.uvicorn_server import Server

def make():
    if sys.argv[1] == "as the app is made":
        os.kill(os.getpid(), signal.SIGTERM)
    return app

async def app(scope, receive, send):
    await receive()
    if sys.argv[1] == "as it starts":
        os.kill(os.getpid(), signal.SIGTERM)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})

Server(uvicorn.Config(make, factory=True, port=0), drain=15, grace=20).run()
"""
    began = time.monotonic()
    command = [sys.executable, "-c", script, when]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == -signal.SIGTERM
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 10


SOMAXCONN = Path("/proc/sys/net/core/somaxconn")
CROWD = 2600  # more than uvicorn's own backlog


@pytest.mark.skipif(
    not SOMAXCONN.exists() or int(SOMAXCONN.read_text()) < CROWD, reason="the system lets fewer connections wait"
)
def test_a_crowd_that_comes_at_once_finds_room_to_wait() -> None:
    """Each connection is made while the server has no time to accept any; one that is dropped is tried again in a
    second, or three."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with running() as server, ExitStack() as stack, selectors.DefaultSelector() as selector:
            os.kill(server.pid, signal.SIGSTOP)
            stack.callback(os.kill, server.pid, signal.SIGCONT)
            for _ in range(CROWD):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", server.port))
                selector.register(client, selectors.EVENT_WRITE)
            made, deadline = 0, time.monotonic() + 5
            while made < CROWD and time.monotonic() < deadline:
                for key, _ in selector.select(0.05):
                    selector.unregister(key.fileobj)
                    made += 1
            assert made == CROWD
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
