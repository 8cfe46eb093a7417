"""Connections on a real socket: order, time limits, size limits, and clients that disconnect."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, cast

import httpx
import pytest
import uvicorn
from starlette.responses import Response

from app.server import uvicorn_server
from app.server.http_protocol import HttpProtocol
from tests.support.pictures import Grey, png
from tests.support.running import Server, running

KEEP_ALIVE_S = 1.5  # of the servers with short limits
RATE_WINDOW_S = 1.0


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    """Three requests in one packet get three responses, and the last one closes the connection."""
    ask = b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        closing = b"Connection: close\r\n"
        client.sendall(ask % (b"/livez", b"") + ask % (b"/nothing", b"") + ask % (b"/readyz", closing))
        received = b""
        while part := client.recv(65536):
            received += part
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"404", b"200"]


def test_expect_100_continue_is_answered(server: Server, seven: Grey) -> None:
    """A client that waits for 100 Continue before it sends the body gets it. curl does so with large pictures."""
    answer = httpx.post(f"{server.url}/predict", content=png(seven), headers={"Expect": "100-continue"})
    assert answer.json()["digit"] == 7


@pytest.fixture(scope="module")
def impatient() -> Iterator[Server]:
    """A server with little time for a head and a body, and few connections."""
    with running(DIGITS_HEAD_S="0.5", DIGITS_BODY_S="1.5", DIGITS_MAX_CONNECTIONS="20") as server:
        yield server


@pytest.fixture(scope="module")
def short_limits() -> Iterator[Server]:
    """A server that closes idle connections soon, and averages the upload rate over a short time."""
    limits: dict[str, Any] = {"DIGITS_KEEP_ALIVE_S": str(KEEP_ALIVE_S), "FAULTY_RATE_WINDOW_S": str(RATE_WINDOW_S)}
    with running(module="benchmarks.faulty_server", DIGITS_BODY_RATE="8192", **limits) as server:
        yield server


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def receive_rest(client: socket.socket) -> bytes:
    """Receive until the other side closes."""
    received = b""
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            received += part
    return received


def parse_problem(response: bytes) -> dict[str, Any]:
    """Return the problem in a response, which must have a request ID and close the connection."""
    head, _, body = response.partition(b"\r\n\r\n")
    problem: dict[str, Any] = json.loads(body)
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head.lower()
    assert f"x-request-id: {problem['request_id']}".encode() in head
    assert head.startswith(b"HTTP/1.1 %d " % problem["status"])
    return problem


UPLOAD = (
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nX-Request-ID: slow-1\r\n"
    b"Content-Length: %d\r\n\r\n"
)


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


def test_a_head_without_end_gets_431(server: Server) -> None:
    """A megabyte of headers is more than anyone needs. It is not kept in memory."""
    with connect(server) as client, suppress(BrokenPipeError, ConnectionResetError):
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
        for number in range(1000):
            client.sendall(b"X-%d: %s\r\n" % (number, b"a" * 1000))
    with connect(server) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 300_000)
        assert parse_problem(receive_rest(client))["status"] == 431


def test_bytes_that_are_not_http_get_a_problem(server: Server) -> None:
    """The response has the form of every other error."""
    with connect(server) as client:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert parse_problem(receive_rest(client))["status"] == 400


def test_the_number_of_connections_is_limited(impatient: Server) -> None:
    """One too many is told when to retry. Open ones are served, and when they close, new ones are accepted."""
    with httpx.Client(base_url=impatient.url) as open_client:
        open_client.get("/livez").raise_for_status()
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(impatient)) for _ in range(25)]
            for client in clients[20:]:
                client.sendall(b"GET /info HTTP/1.1\r\nHost: x\r\n\r\n")
            refused = [answer for client in clients[20:] if (answer := receive_rest(client))]
            assert len(refused) == 5
            assert {parse_problem(answer)["status"] for answer in refused} == {503}
            assert b"retry-after: 1" in refused[0]
            assert open_client.get("/readyz").status_code == 200
    time.sleep(1.5)
    assert httpx.get(f"{impatient.url}/livez").status_code == 200


def test_requests_of_disconnected_clients_are_cancelled(seven: Grey) -> None:
    """Of 50 requests whose clients disconnect while they wait, none is read. The others are."""
    with running(module="benchmarks.faulty_server", FAULTY_SLOW_MS="500") as server:
        request = UPLOAD.replace(b"slow-1", b"leaver") % len(png(seven)) + png(seven)
        with connect(server) as first:
            first.sendall(request.replace(b"leaver", b"stayer"))
            time.sleep(0.2)  # its batch is running
            for _ in range(50):
                with connect(server) as client:
                    client.sendall(request)
                    time.sleep(0.002)
            assert first.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert httpx.post(f"{server.url}/predict", files={"file": png(seven)}).json()["digit"] == 7
        metrics = httpx.get(f"{server.url}/metrics").text
        assert "digits_batch_size_sum 2.0" in metrics
        lines = [json.loads(line) for line in server.wait_for_log("stayer").splitlines() if "leaver" in line]
        assert [line["status"] for line in lines] == [499] * 50
        assert "Traceback" not in server.log.read_text()


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


def test_a_request_that_ends_an_idle_time_is_not_lost() -> None:
    """The idle time of a connection is over, and a request has arrived that the event loop had no time to read: the
    connection stays open. Without the request, it is closed."""

    async def is_closed(more: bytes) -> bool:
        config = uvicorn.Config(Response(), http=HttpProtocol, lifespan="off", log_config=None)
        server = uvicorn_server.Server(config, drain_s=0, grace_s=2)
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            serving = asyncio.create_task(server.serve([listener]))
            client.connect(listener.getsockname())
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await asyncio.to_thread(client.recv, 65536)
            (connection,) = cast(set[HttpProtocol], server.server_state.connections)
            client.sendall(more)
            for now in (0, 1000):
                connection.check(now)
            closed = connection.is_closing
            server.should_exit = True
            await serving
        return closed

    assert not asyncio.run(is_closed(b"GET"))
    assert asyncio.run(is_closed(b""))
