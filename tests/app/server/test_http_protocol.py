"""Connections on a real socket: order, size limits, and clients that disconnect."""

import asyncio
import json
import re
import socket
import time
from contextlib import ExitStack, suppress
from typing import cast

import httpx
import uvicorn
from starlette.responses import Response

from app.server import uvicorn_server
from app.server.http_protocol import HttpProtocol
from tests.support.connections import UPLOAD, connect, parse_problem, receive_rest
from tests.support.pictures import Grey, png
from tests.support.running import Server, running


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


def test_the_number_of_connections_is_limited() -> None:
    """One too many is told when to retry. Open ones are served, and when they close, new ones are accepted."""
    with running(DIGITS_MAX_CONNECTIONS="20") as server, httpx.Client(base_url=server.url) as open_client:
        open_client.get("/livez").raise_for_status()
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(server)) for _ in range(25)]
            for client in clients[20:]:
                client.sendall(b"GET /info HTTP/1.1\r\nHost: x\r\n\r\n")
            refused = [answer for client in clients[20:] if (answer := receive_rest(client))]
            assert len(refused) == 5
            assert {parse_problem(answer)["status"] for answer in refused} == {503}
            assert b"retry-after: 1" in refused[0]
            assert open_client.get("/readyz").status_code == 200
        deadline = time.monotonic() + 20
        while httpx.get(f"{server.url}/livez").status_code == 503:
            assert time.monotonic() < deadline


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
