"""The shutdown of the server: in steps, in time, and without losing a request. Also its listen queue."""

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

from app.server.uvicorn_server import GC_THRESHOLD, GIL_SWITCH_S
from tests.support.pictures import Grey, png
from tests.support.running import ROOT, Server, running

pytestmark = pytest.mark.serial  # measures times


def wait_for_end(server: Server) -> float:
    """Wait until the process has ended. Return the seconds that it took."""
    began = time.monotonic()
    while time.monotonic() < began + 20:
        with suppress(ChildProcessError):
            if os.waitpid(server.pid, os.WNOHANG)[0]:
                return time.monotonic() - began
        time.sleep(0.01)
    raise TimeoutError("the process does not end")


@contextmanager
def load(server: Server, body: bytes, keep_alive: bool) -> Iterator[Counter[str]]:
    """Send requests from four clients until the server stops listening. Yield the count of each outcome."""
    outcomes: Counter[str] = Counter()

    def send() -> None:
        limits = httpx.Limits(max_keepalive_connections=None if keep_alive else 0)
        with httpx.Client(limits=limits, timeout=20) as client:
            while True:
                try:
                    answer = client.post(f"{server.url}/predict", files={"file": body})
                except httpx.ConnectError:
                    return  # the server does not listen, so nothing was sent
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


@pytest.mark.parametrize("keep_alive", [True, False], ids=["keep-alive", "a connection each"])
def test_a_shutdown_under_load_loses_no_request(seven: Grey, keep_alive: bool) -> None:
    """After SIGTERM, the service is not ready, closes each connection after a response, and answers every request."""
    with running(DIGITS_DRAIN_MS="2500") as server, load(server, png(seven), keep_alive) as outcomes:
        time.sleep(0.5)
        os.kill(server.pid, signal.SIGTERM)
        time.sleep(0.3)
        ready = httpx.get(f"{server.url}/readyz")
        assert (ready.status_code, ready.headers["connection"]) == (503, "close")
        alive = httpx.get(f"{server.url}/livez")
        assert (alive.status_code, alive.headers["connection"]) == (200, "close")
        before = outcomes["200"]
        assert wait_for_end(server) < 8
        assert outcomes["200"] > before
    assert set(outcomes) == {"200"}


def test_a_stuck_upload_does_not_delay_the_end(seven: Grey) -> None:
    """The process ends within its grace period, however long an upload would take."""
    with (
        running(DIGITS_DRAIN_MS="300", DIGITS_GRACE_S="3") as server,
        socket.create_connection(("127.0.0.1", server.port)) as stuck,
    ):
        stuck.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        assert httpx.post(f"{server.url}/predict", files={"file": png(seven)}).status_code == 200
        os.kill(server.pid, signal.SIGTERM)
        assert wait_for_end(server) < 3.5


def test_ctrl_c_does_not_wait() -> None:
    """SIGINT comes from a person at a terminal, so there is no client to wait for."""
    with running(DIGITS_DRAIN_MS="10000", DIGITS_GRACE_S="20") as server:
        os.kill(server.pid, signal.SIGINT)
        assert wait_for_end(server) < 2


def test_a_second_signal_ends_the_drain() -> None:
    """Two signals mean that someone is in a hurry."""
    with running(DIGITS_DRAIN_MS="10000", DIGITS_GRACE_S="20") as server:
        os.kill(server.pid, signal.SIGTERM)
        time.sleep(0.2)
        assert httpx.get(f"{server.url}/livez").status_code == 200
        os.kill(server.pid, signal.SIGTERM)
        assert wait_for_end(server) < 2


@pytest.mark.parametrize("when", ["while the app is created", "during start-up"])
def test_a_signal_before_the_service_is_ready_ends_it(when: str) -> None:
    """No client can have seen the service ready. It shuts down immediately, without a drain."""
    script = """
import os, signal, sys, uvicorn
from app.server.uvicorn_server import Server

def make():
    if sys.argv[1] == "while the app is created":
        os.kill(os.getpid(), signal.SIGTERM)
    return app

async def app(scope, receive, send):
    await receive()
    if sys.argv[1] == "during start-up":
        os.kill(os.getpid(), signal.SIGTERM)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})

Server(uvicorn.Config(make, factory=True, port=0), drain_s=15, grace_s=20).run()
"""
    began = time.monotonic()
    command = [sys.executable, "-c", script, when]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == -signal.SIGTERM
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 10


def test_the_server_tunes_the_interpreter() -> None:
    """It sets thresholds itself, because an app must not, and freezes what exists when it is ready."""
    script = """
import asyncio, gc, sys, uvicorn
from app.server.uvicorn_server import Server

async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print(gc.get_threshold()[0], gc.get_freeze_count() > 1000, sys.getswitchinterval())
    await send({"type": "lifespan.shutdown.complete"})

async def main():
    server = Server(uvicorn.Config(app, port=0), drain_s=0, grace_s=2)
    asyncio.get_running_loop().call_later(1, setattr, server, "should_exit", True)
    await server.serve()

asyncio.run(main())
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == f"{GC_THRESHOLD} True {GIL_SWITCH_S}\n", done.stderr


def test_waiting_connections_are_accepted_many_at_a_time() -> None:
    """libuv accepts one per listening socket in an iteration of the event loop, and an iteration of a busy service is
    long. Sixteen iterations are enough for 64 connections."""
    script = """
import asyncio, socket, uvicorn
from app.server.uvicorn_server import Server

async def app(scope, receive, send):
    raise NotImplementedError

async def main():
    server = Server(config, drain_s=0, grace_s=2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        await asyncio.sleep(1)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(64)]
        for _ in range(16):
            await asyncio.sleep(0)
        print(len(server.server_state.connections))
        server.should_exit = True
        await serving

config = uvicorn.Config(app, http="app.server.http_protocol:HttpProtocol", log_config=None)
with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
    runner.run(main())
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "64\n", done.stderr


SOMAXCONN = Path("/proc/sys/net/core/somaxconn")
CROWD = 2600  # connections; more than uvicorn's default backlog


@pytest.mark.skipif(
    not SOMAXCONN.exists() or int(SOMAXCONN.read_text()) < CROWD, reason="the system allows fewer waiting connections"
)
def test_many_simultaneous_connections_can_wait() -> None:
    """All are established while the server is too busy to accept any. A client retries a dropped one only after
    seconds."""
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
            established, deadline = 0, time.monotonic() + 5
            while established < CROWD and time.monotonic() < deadline:
                for key, _ in selector.select(0.05):
                    selector.unregister(key.fileobj)
                    established += 1
            assert established == CROWD
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
