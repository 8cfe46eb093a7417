"""The response to a request: its bytes, in how few writes, and what becomes of a faulty one."""

import asyncio
import re
from typing import Any

import pytest

from app.server.exchange import Exchange, Message, RequestHead

Headers = list[tuple[bytes, bytes]]
FOUR_BYTES: Headers = [(b"content-type", b"text/plain"), (b"content-length", b"4")]
HEAD = b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n"
CLOSE = b"connection: close\r\n"


class Connection:
    """Records what an exchange does with its connection."""

    is_closing = False
    client = None

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.aborted = self.complete = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True

    def on_response_complete(self) -> None:
        self.complete = True

    async def drain(self) -> None:
        """Nothing is ever held back."""

    @staticmethod
    def format_default_headers() -> bytes:
        return b"date: today\r\n"


def start(headers: Headers, status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(content: bytes, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


def answer(
    messages: list[Message], keep_alive: bool = True, method: str = "GET", http_version: str = "1.1"
) -> tuple[Connection, Exchange]:
    """Let an app send these messages."""
    connection: Any = Connection()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async def run() -> Exchange:
        exchange = Exchange(connection, RequestHead(method.encode(), b"/", http_version, []), keep_alive)
        await exchange.run(app, {})
        return exchange

    return connection, asyncio.run(run())


@pytest.mark.parametrize(
    ("messages", "options", "expected", "writes"),
    [
        ([start(FOUR_BYTES), body(b"four")], {}, HEAD + b"\r\nfour", 1),
        ([start(FOUR_BYTES), body(b"four")], {"keep_alive": False}, HEAD + CLOSE + b"\r\nfour", 1),
        ([start([*FOUR_BYTES, (b"connection", b"close")]), body(b"four")], {}, HEAD + CLOSE + b"\r\nfour", 1),
        ([start(FOUR_BYTES), body(b"four")], {"method": "HEAD"}, HEAD + b"\r\n", 1),
        ([start(FOUR_BYTES), body(b"fo", more=True), body(b"ur")], {}, HEAD + b"\r\nfour", 2),
        ([start([(b"content-type", b"text/plain")]), body(b"four")], {}, HEAD + b"\r\nfour", 1),
        ([start([*FOUR_BYTES, (b"transfer-encoding", b"chunked")]), body(b"four")], {}, HEAD + b"\r\nfour", 1),
        ([start([], 204), body(b"")], {}, b"HTTP/1.1 204 No Content\r\ndate: today\r\n\r\n", 1),
        ([start([], 304), body(b"")], {}, b"HTTP/1.1 304 Not Modified\r\ndate: today\r\n\r\n", 1),
        (
            [start([]), body(b"fo", more=True), body(b"ur")],
            {},
            b"HTTP/1.1 200 OK\r\ndate: today\r\ntransfer-encoding: chunked\r\n\r\n2\r\nfo\r\n2\r\nur\r\n0\r\n\r\n",
            2,
        ),
        (
            [start([]), body(b"fo", more=True), body(b"ur")],
            {"http_version": "1.0"},
            b"HTTP/1.1 200 OK\r\ndate: today\r\nconnection: close\r\n\r\nfour",
            2,
        ),
    ],
)
def test_a_response_has_these_bytes(
    messages: list[Message], options: dict[str, Any], expected: bytes, writes: int
) -> None:
    """The head waits for the body, so a complete response is one write. Without a length, the body is in chunks."""
    connection, exchange = answer(messages, **options)
    assert b"".join(connection.written) == expected
    assert len(connection.written) == writes
    assert exchange.response_complete
    assert connection.complete


@pytest.mark.parametrize(
    "header",
    [(b"x", b"a\r\nset-cookie: b"), (b"x", b"a\nb"), (b"x y", b"a"), (b"x: y\r\nz", b"a"), (b"x", b"\0")],
    ids=["a header in a value", "a line feed", "a space in a name", "a header in a name", "a zero byte"],
)
def test_an_invalid_header_becomes_an_error(header: tuple[bytes, bytes]) -> None:
    """Nothing of such a response is sent, so no value can add a header to it. The client gets a complete 500."""
    connection, exchange = answer([start([*FOUR_BYTES, header]), body(b"four")])
    (written,) = connection.written
    assert written.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in written
    head, _, content = written.partition(b"\r\n\r\n")
    assert re.search(rb"content-length: %d\r\n" % len(content), head + b"\r\n")
    assert not exchange.keep_alive


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [body(b"four")],
        [start(FOUR_BYTES)],
        [start(FOUR_BYTES), body(b"too long")],
        [start(FOUR_BYTES), body(b"few")],
    ],
    ids=["nothing", "no head", "no body", "too long", "too short"],
)
def test_a_faulty_response_becomes_an_error(messages: list[Message]) -> None:
    """While nothing is written, the client gets a 500, and the connection is closed."""
    connection, exchange = answer(messages)
    (written,) = connection.written
    assert written.startswith(b"HTTP/1.1 500 ")
    assert CLOSE in written
    assert exchange.response_complete


@pytest.mark.parametrize("rest", [[], [body(b"ur and more")], [body(b"u")]], ids=["missing", "too long", "too short"])
def test_a_response_that_breaks_off_ends_the_connection(rest: list[Message]) -> None:
    """Its head is sent already. The client must not take what follows for the rest of it."""
    connection, exchange = answer([start(FOUR_BYTES), body(b"fo", more=True), *rest])
    assert connection.aborted
    assert not exchange.response_complete
