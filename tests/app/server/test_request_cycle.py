"""The response of the server: the bytes that uvicorn would send, in one write."""

import asyncio
import logging
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.server.request_cycle import RequestCycle


class Transport:
    """Records what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed, "written after it was closed"
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


Headers = list[tuple[bytes, bytes]]
FOUR_BYTES: Headers = [(b"content-type", b"text/plain"), (b"content-length", b"4")]


def start(headers: Headers, status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(content: bytes, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


def send(
    kind: type[RequestResponseCycle], messages: list[Message], method: str = "GET", keep_alive: bool = True
) -> tuple[list[bytes], bool]:
    """Run an app that sends these messages. Return what is written, and whether the connection is closed."""
    transport: Any = Transport()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async def run() -> None:
        cycle = kind(
            scope={"method": method},  # type: ignore[typeddict-item]  # all that is used of it
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
        await cycle.run_asgi(app)  # type: ignore[arg-type]  # uvicorn has its own types

    logging.getLogger("silent").disabled = True
    asyncio.run(run())
    return transport.written, transport.closed


@pytest.mark.parametrize(
    ("writes", "messages", "more"),
    [
        (1, [start(FOUR_BYTES), body(b"four")], {}),
        (1, [start(FOUR_BYTES), body(b"four")], {"keep_alive": False}),
        (1, [start([(b"content-length", b"0")]), body(b"")], {}),
        (2, [start(FOUR_BYTES), body(b"four")], {"method": "HEAD"}),
        (2, [start([*FOUR_BYTES, (b"connection", b"close")]), body(b"four")], {}),
        (2, [start([*FOUR_BYTES, (b"Connection", b"close")]), body(b"four")], {}),
        (3, [start(FOUR_BYTES), body(b"fo", more=True), body(b"ur")], {}),
        (2, [start([(b"content-type", b"text/plain")]), body(b"four")], {}),
        (2, [start([*FOUR_BYTES, (b"transfer-encoding", b"chunked")]), body(b"four")], {}),
        (2, [start([], status=204), body(b"")], {}),
        (2, [start(FOUR_BYTES), body(b"too long")], {}),
        (2, [start(FOUR_BYTES), body(b"few")], {}),
        (1, [start([*FOUR_BYTES, (b"x", b"a\r\nset-cookie: b")]), body(b"four")], {}),
        (1, [start([*FOUR_BYTES, (b"x", b"a\nb")]), body(b"four")], {}),
        (1, [start([*FOUR_BYTES, (b"x y", b"a")]), body(b"four")], {}),
        (1, [start([*FOUR_BYTES, (b"x: y\r\nz", b"a")]), body(b"four")], {}),
        (1, [start([*FOUR_BYTES, (b"x", b"\0")]), body(b"four")], {}),
        (2, [body(b"four")], {}),
        (2, [], {}),
    ],
)
def test_a_response_has_the_bytes_that_uvicorn_would_send(
    writes: int, messages: list[Message], more: dict[str, Any]
) -> None:
    """Byte for byte, valid or not. The connection is kept or closed as by uvicorn. A complete response is one write."""
    ours, closed_by_us = send(RequestCycle, messages, **more)
    theirs, closed_by_uvicorn = send(RequestResponseCycle, messages, **more)
    assert (b"".join(ours), closed_by_us) == (b"".join(theirs), closed_by_uvicorn)
    assert len([part for part in ours if part]) <= writes


def test_a_head_without_a_body_becomes_an_error() -> None:
    """If an app fails after it has sent a head, nothing was written yet, and the client gets a 500."""
    written, closed = send(RequestCycle, [start(FOUR_BYTES)])
    assert b"".join(written).startswith(b"HTTP/1.1 500 ")
    assert closed
