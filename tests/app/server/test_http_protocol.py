"""The protocol: an answer is written once, and everything else as uvicorn does it."""

import asyncio
import json
import logging
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.server.http_protocol import Cycle
from tests.support.pictures import Grey, png
from tests.support.running import Server, running


class Transport:
    """Remembers what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed, "written after the close"
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


Headers = list[tuple[bytes, bytes]]
FOUR: Headers = [(b"content-type", b"text/plain"), (b"content-length", b"4")]


def start(headers: Headers, status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(content: bytes, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


def sent(
    kind: type[RequestResponseCycle], messages: list[Message], method: str = "GET", keep_alive: bool = True
) -> tuple[list[bytes], bool]:
    """What is written for an app that sends these messages, and whether the connection is closed then."""
    transport: Any = Transport()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async def answer() -> None:
        cycle = kind(
            scope={"method": method},  # type: ignore[typeddict-item]  # all that is used of one
            transport=transport,
            flow=FlowControl(transport),
            logger=logging.getLogger("silent"),
            access_logger=logging.getLogger("silent"),
            access_log=False,
            default_headers=[(b"date", b"today")],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=lambda: None,
        )
        await cycle.run_asgi(app)  # type: ignore[arg-type]  # uvicorn's types are its own

    logging.getLogger("silent").disabled = True
    asyncio.run(answer())
    return transport.written, transport.closed


@pytest.mark.parametrize(
    ("writes", "messages", "more"),
    [
        (1, [start(FOUR), body(b"four")], {}),
        (1, [start(FOUR), body(b"four")], {"keep_alive": False}),
        (1, [start([(b"content-length", b"0")]), body(b"")], {}),
        (2, [start(FOUR), body(b"four")], {"method": "HEAD"}),
        (2, [start([*FOUR, (b"connection", b"close")]), body(b"four")], {}),
        (2, [start([*FOUR, (b"Connection", b"close")]), body(b"four")], {}),
        (3, [start(FOUR), body(b"fo", more=True), body(b"ur")], {}),
        (2, [start([(b"content-type", b"text/plain")]), body(b"four")], {}),
        (2, [start([*FOUR, (b"transfer-encoding", b"chunked")]), body(b"four")], {}),
        (2, [start([], status=204), body(b"")], {}),
        (2, [start(FOUR), body(b"too long")], {}),
        (2, [start(FOUR), body(b"few")], {}),
        (1, [start([*FOUR, (b"x", b"a\r\nset-cookie: b")]), body(b"four")], {}),
        (1, [start([*FOUR, (b"x", b"a\nb")]), body(b"four")], {}),
        (1, [start([*FOUR, (b"x y", b"a")]), body(b"four")], {}),
        (1, [start([*FOUR, (b"x: y\r\nz", b"a")]), body(b"four")], {}),
        (1, [start([*FOUR, (b"x", b"\0")]), body(b"four")], {}),
        (2, [body(b"four")], {}),
        (2, [], {}),
    ],
)
def test_an_answer_is_as_uvicorn_would_send_it(writes: int, messages: list[Message], more: dict[str, Any]) -> None:
    """Byte for byte, good or bad, and the connection is kept or closed as there; one that is all there is one write."""
    mine, closed = sent(Cycle, messages, **more)
    theirs, closed_there = sent(RequestResponseCycle, messages, **more)
    assert (b"".join(mine), closed) == (b"".join(theirs), closed_there)
    assert len([part for part in mine if part]) <= writes


def test_a_head_without_a_body_becomes_an_error() -> None:
    """An app that fails after it has sent a head has sent nothing yet, and the client is told that it failed."""
    written, closed = sent(Cycle, [start(FOUR)])
    assert b"".join(written).startswith(b"HTTP/1.1 500 ")
    assert closed


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    """Three requests in one packet have three answers, the last of which closes the connection."""
    ask = b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        closing = b"Connection: close\r\n"
        client.sendall(ask % (b"/livez", b"") + ask % (b"/nothing", b"") + ask % (b"/readyz", closing))
        received = b""
        while part := client.recv(65536):
            received += part
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"404", b"200"]


def test_expect_100_continue_is_answered(server: Server, seven: Grey) -> None:
    """A client that asks before it sends its body is told to go on, as curl needs for large pictures."""
    answer = httpx.post(f"{server.url}/predict", content=png(seven), headers={"Expect": "100-continue"})
    assert answer.json()["digit"] == 7


@pytest.fixture(scope="module")
def impatient() -> Iterator[Server]:
    with running(DIGITS_HEAD_S="0.5", DIGITS_BODY_S="1.5", DIGITS_MAX_CONNECTIONS="20") as server:
        yield server


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def rest(client: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    received = b""
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            received += part
    return received


def problem_of(answer: bytes) -> dict[str, Any]:
    """The problem in an answer, which has an id and closes."""
    head, _, body = answer.partition(b"\r\n\r\n")
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


def test_a_connection_that_brings_nothing_is_closed(impatient: Server) -> None:
    """Without a word, for what is told before a request comes may be taken for the answer to it."""
    with connect(impatient) as client:
        began = time.monotonic()
        assert rest(client) == b""
        assert time.monotonic() < began + 5


@pytest.mark.parametrize("sent", [b"G", b"GET /livez HTTP/1.1\r\nHo", b"\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(impatient: Server, sent: bytes) -> None:
    """A connection that brings no request, or half of one, is told so and closed."""
    with connect(impatient) as client:
        client.sendall(sent)
        assert problem_of(rest(client))["status"] == 408


def test_line_feeds_are_no_request(impatient: Server) -> None:
    """A connection is not kept open by bytes that HTTP allows between two requests."""
    with connect(impatient) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() < began + 10:
                client.sendall(b"\r\n")
                time.sleep(0.1)
        assert time.monotonic() < began + 5


def test_a_body_that_does_not_end_is_answered_408(impatient: Server) -> None:
    """The answer has the client's own id, the log has the request's line, and the connection is closed."""
    with connect(impatient) as client:
        client.sendall(UPLOAD % 100)
        client.sendall(b"\x89PNG")
        problem = problem_of(rest(client))
    assert (problem["status"], problem["request_id"]) == (408, "slow-1")
    (line,) = [line for line in impatient.logged("slow-1").splitlines() if "slow-1" in line]
    assert json.loads(line)["status"] == 408


def test_what_is_not_wanted_need_not_come_to_an_end(impatient: Server) -> None:
    """A body that nobody waits for, for the answer is given, does not keep its connection open either."""
    with connect(impatient) as client:
        client.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc")
        began = time.monotonic()
        assert rest(client).startswith(b"HTTP/1.1 404")
        assert time.monotonic() < began + 5


def test_a_trickle_is_cut_off(server: Server) -> None:
    """A body at a byte a second is given up after ten seconds, long before its minute is over."""
    with connect(server) as client:
        client.sendall(UPLOAD % 1000)
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() < began + 20:
                client.sendall(b"x")
                client.settimeout(1)
                with suppress(TimeoutError):
                    if answer := client.recv(65536):
                        break
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert 9 < time.monotonic() - began < 14


def test_a_slow_line_is_no_trickle(server: Server, seven: Grey) -> None:
    """A picture that takes eleven seconds to come, at the rate that is asked, is read."""
    body = png(seven)
    padded = body + bytes(11 * 20_000)  # what follows the end of a PNG is nothing
    with connect(server) as client:
        client.sendall(UPLOAD % len(padded))
        for start in range(0, len(padded), 20_000):
            client.sendall(padded[start : start + 20_000])
            time.sleep(1)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_head_without_end_is_refused(server: Server) -> None:
    """A megabyte of header is more than anyone needs; it is not kept in memory, and 431 is the answer."""
    with connect(server) as client, suppress(BrokenPipeError, ConnectionResetError):
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
        for number in range(1000):
            client.sendall(b"X-%d: %s\r\n" % (number, b"a" * 1000))
    with connect(server) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 300_000)
        assert problem_of(rest(client))["status"] == 431


def test_what_is_not_http_is_a_problem(server: Server) -> None:
    """Garbage has an answer in the form that every error has."""
    with connect(server) as client:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert problem_of(rest(client))["status"] == 400


def test_connections_have_a_bound(impatient: Server) -> None:
    """One too many is told when to come again; those that are there are served, and when they go others may come."""
    with httpx.Client(base_url=impatient.url) as there:
        there.get("/livez").raise_for_status()
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(impatient)) for _ in range(25)]
            refused = [answer for client in clients[20:] if (answer := rest(client))]
            assert len(refused) == 5
            assert {problem_of(answer)["status"] for answer in refused} == {503}
            assert b"retry-after: 1" in refused[0]
            assert there.get("/readyz").status_code == 200
    time.sleep(1.5)
    assert httpx.get(f"{impatient.url}/livez").status_code == 200


def test_nobody_works_for_a_client_that_has_gone(seven: Grey) -> None:
    """Of 50 requests whose clients leave while they wait, none is read; those that stay are."""
    with running(module="benchmarks.faulty", FAULTY_SLOW_MS="500") as server:
        request = UPLOAD.replace(b"slow-1", b"leaver") % len(png(seven)) + png(seven)
        with connect(server) as first:
            first.sendall(request.replace(b"leaver", b"stayer"))
            time.sleep(0.2)  # its batch runs
            for _ in range(50):
                with connect(server) as client:
                    client.sendall(request)
                    time.sleep(0.002)
            assert first.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert httpx.post(f"{server.url}/predict", files={"file": png(seven)}).json()["digit"] == 7
        metrics = httpx.get(f"{server.url}/metrics").text
        assert "digits_batch_size_sum 2.0" in metrics
        lines = [json.loads(line) for line in server.logged("stayer").splitlines() if "leaver" in line]
        assert [line["status"] for line in lines] == [499] * 50
        assert "Traceback" not in server.log.read_text()


def test_a_connection_that_idles_is_closed(server: Server) -> None:
    """Five seconds after an answer, and not before; until then it may be used again."""
    with connect(server) as client:
        for _ in range(2):
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
            time.sleep(1)
        began = time.monotonic()
        assert rest(client) == b""
        assert 3 < time.monotonic() - began < 7


def test_a_request_that_ends_an_idle_time_is_not_lost(server: Server) -> None:
    """What came before the server found the time to look is answered, however late that is."""
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(server) as client:
        client.sendall(request)
        assert b" 200 " in client.recv(65536)
        time.sleep(1)  # it is seen to idle
        os.kill(server.pid, signal.SIGSTOP)
        try:
            time.sleep(5)  # as long as a connection may
            client.sendall(request)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert b" 200 " in client.recv(65536)
