"""The addresses on which the service listens, and how it stops."""

import errno
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from app.server.listeners import stop_new_connections
from tests.support.ports import free_port
from tests.support.running import ROOT, clean_environment, run_app

pytestmark = pytest.mark.slow  # starts many processes


def has_ipv6() -> bool:
    """Return whether this machine has IPv6 on its loopback."""
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@contextmanager
def serving(log: Path, *flags: str) -> Iterator[int]:
    """Serve on a free port until the block ends. Yield the port as soon as the log names an address."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "app", "serve", "--port", str(port), *flags],
            cwd=ROOT,
            env=clean_environment(DIGITS_DRAIN_MS="0"),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 30
        while "running on" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=20)


@needs_ipv6
@pytest.mark.parametrize("host", ["::", "[::]"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_interface_means_ipv6_and_ipv4(tmp_path: Path, host: str, workers: str) -> None:
    """Clients of both protocols are served, whatever the number of workers, and are logged under their own address."""
    with serving(tmp_path / "log", "--host", host, "--workers", workers) as port:
        for address in ("127.0.0.1", "[::1]"):
            deadline = time.monotonic() + 20
            while True:  # with several workers, maybe none listens yet
                with suppress(httpx.ConnectError):
                    httpx.get(f"http://{address}:{port}/livez").raise_for_status()
                    break
                assert time.monotonic() < deadline, f"{address} is not served"
                time.sleep(0.05)
    clients = set(re.findall(r'"client": "([^"]*)"', (tmp_path / "log").read_text()))
    assert clients == {"127.0.0.1", "::1"}


def test_an_unknown_host_is_an_error_of_one_line() -> None:
    """Such as a name that nobody can resolve."""
    done = run_app("serve", "--host", "host.invalid", "--port", "0")
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("digitserve: cannot listen on host.invalid port 0: ")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the filter is one of Linux")
def test_closing_a_stopped_socket_loses_no_connection() -> None:
    """A client that connects after the stop finds the port closed. None is established that nobody accepts. One that
    waits is accepted."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as late:
        address = listener.getsockname()
        with socket.create_connection(address) as early:
            stop_new_connections(listener.fileno())
            late.setblocking(False)
            assert late.connect_ex(address) == errno.EINPROGRESS
            with listener.accept()[0] as accepted:
                early.sendall(b"x")
                assert accepted.recv(1) == b"x"
        listener.close()
        poll = select.poll()
        poll.register(late, select.POLLOUT)
        assert poll.poll(20_000)  # it tries again after a second
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
