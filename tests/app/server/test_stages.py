"""Time limits of a connection on a real socket: for a head, for a body, and between two requests."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from app.server.run import server_options
from app.settings import Settings
from tests.support.connections import UPLOAD, connect, parse_problem, receive_rest
from tests.support.pictures import Grey, png
from tests.support.running import Server, running

KEEP_ALIVE_S = 1.5  # of the server with short limits
RATE_WINDOW_S = 1.0


@pytest.fixture(scope="module")
def impatient() -> Iterator[Server]:
    """A server with little time for a head and a body."""
    with running(DIGITS_HEAD_S="0.5", DIGITS_BODY_S="1.5") as server:
        yield server


@pytest.fixture(scope="module")
def short_limits() -> Iterator[Server]:
    """A server that closes idle connections soon, and averages the upload rate over a short time."""
    limits: dict[str, Any] = {"DIGITS_KEEP_ALIVE_S": str(KEEP_ALIVE_S), "FAULTY_RATE_WINDOW_S": str(RATE_WINDOW_S)}
    with running(module="benchmarks.faulty_server", DIGITS_BODY_RATE="8192", **limits) as server:
        yield server


def test_a_connection_that_sends_nothing_is_closed(impatient: Server) -> None:
    """It gets no response: the client could take it for the response to its first request."""
    with connect(impatient) as client:
        began = time.monotonic()
        assert receive_rest(client) == b""
        assert time.monotonic() < began + 5


@pytest.mark.parametrize("sent", [b"G", b"GET /livez HTTP/1.1\r\nHo", b"\r\n"])
def test_a_head_that_does_not_arrive_gets_408(impatient: Server, sent: bytes) -> None:
    """A connection that sends half a head, or not even that, gets a 408 and is closed."""
    with connect(impatient) as client:
        client.sendall(sent)
        assert parse_problem(receive_rest(client))["status"] == 408


def test_line_feeds_do_not_keep_a_connection_open(impatient: Server) -> None:
    """HTTP allows them between two requests, but they are not a request."""
    with connect(impatient) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() < began + 10:
                client.sendall(b"\r\n")
                time.sleep(0.1)
        assert time.monotonic() < began + 5


def test_a_body_that_does_not_end_gets_408(impatient: Server) -> None:
    """The response has the client's request ID, the log has the request, and the connection is closed."""
    with connect(impatient) as client:
        client.sendall(UPLOAD % 100)
        client.sendall(b"\x89PNG")
        problem = parse_problem(receive_rest(client))
    assert (problem["status"], problem["request_id"]) == (408, "slow-1")
    (line,) = [line for line in impatient.wait_for_log("slow-1").splitlines() if "slow-1" in line]
    assert json.loads(line)["status"] == 408


def test_a_body_that_is_not_needed_does_not_keep_the_connection_open(impatient: Server) -> None:
    """The response was sent before the body arrived. The connection is closed anyway when the body does not end."""
    with connect(impatient) as client:
        client.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc")
        began = time.monotonic()
        assert receive_rest(client).startswith(b"HTTP/1.1 404")
        assert time.monotonic() < began + 5


def test_an_upload_that_is_too_slow_gets_408(short_limits: Server) -> None:
    """At ten bytes per second, it is cut off after the rate window, long before the time for the body is over."""
    with connect(short_limits) as client:
        client.sendall(UPLOAD % 1000)
        began = time.monotonic()
        client.settimeout(0.1)
        with suppress(OSError):
            while time.monotonic() < began + 20:
                client.sendall(b"x")
                with suppress(TimeoutError):
                    if answer := client.recv(65536):
                        break
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert 0.9 * RATE_WINDOW_S < time.monotonic() - began < RATE_WINDOW_S + 4


def test_an_upload_at_the_required_rate_is_read(short_limits: Server, seven: Grey) -> None:
    """A picture that takes twice the rate window to arrive is read if it is fast enough."""
    body = png(seven)
    padded = body + bytes(22 * 2_000)  # bytes after the end of a PNG are ignored
    with connect(short_limits) as client:
        client.sendall(UPLOAD % len(padded))
        for start in range(0, len(padded), 2_000):
            client.sendall(padded[start : start + 2_000])
            time.sleep(0.1)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_connections_may_be_idle_for_longer_than_those_of_proxies() -> None:
    """Proxies usually keep theirs for 60 seconds. A proxy that reuses a connection just as we close it would lose a
    request."""
    assert server_options(Settings())["timeout_keep_alive"] == 75


def test_an_idle_connection_is_closed(short_limits: Server) -> None:
    """It is closed when the keep-alive time after a response is over, and not before. Until then it can be used."""
    with connect(short_limits) as client:
        for _ in range(2):
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.5)
        began = time.monotonic()
        assert receive_rest(client) == b""
        assert KEEP_ALIVE_S - 1 < time.monotonic() - began < KEEP_ALIVE_S + 2


def test_a_request_that_arrives_in_time_is_answered_by_a_busy_server(seven: Grey) -> None:
    """A server that was busy when the time was over reads what has arrived before it closes a connection.

    The first one is new, the second has had an answer, the third waits for the rest of a head, the last for a body.
    """
    ask = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    post = UPLOAD % len(png(seven)) + png(seven)
    sent = [(b"", ask), (ask, ask), (ask[:20], ask[20:]), (post[:-100], post[-100:])]
    limits: dict[str, Any] = dict.fromkeys(("DIGITS_HEAD_S", "DIGITS_BODY_S", "DIGITS_KEEP_ALIVE_S"), "2")
    with running(**limits) as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in sent]
        for client, (before, _) in zip(clients, sent, strict=True):
            client.sendall(before)
        assert clients[1].recv(65536).startswith(b"HTTP/1.1 200 ")
        time.sleep(1)  # the server looks at each connection
        os.kill(server.pid, signal.SIGSTOP)
        for client, (_, after) in zip(clients, sent, strict=True):
            client.sendall(after)
        time.sleep(2.5)
        os.kill(server.pid, signal.SIGCONT)
        assert [client.recv(65536)[:13] for client in clients] == [b"HTTP/1.1 200 "] * len(sent)
