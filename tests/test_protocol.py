"""The protocol: an answer is written once, and everything else as uvicorn does it."""

import asyncio
import re
import socket

import httpx
import pytest

from app.protocol import Gathering
from tests.pictures import Grey, png
from tests.running import Server


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


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


@pytest.mark.parametrize(
    ("parts", "written"),
    [
        ([HEAD, b"body"], [HEAD + b"body"]),
        ([HEAD, b"bo", b"dy"], [HEAD + b"bo", b"dy"]),
        ([HEAD, b"body", HEAD, b"body"], [HEAD + b"body"] * 2),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", HEAD, b"body"], [b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD, b"body"]),
        ([HEAD], [HEAD]),
    ],
)
def test_a_head_goes_with_what_follows_or_when_the_loop_has_turned(parts: list[bytes], written: list[bytes]) -> None:
    """Every byte is written once and in order, a head with its body; one that nothing follows is not kept back."""
    transport = Transport()

    async def write() -> None:
        gathering = Gathering(transport, asyncio.get_running_loop())  # type: ignore[arg-type]  # all that is used of one
        for part in parts:
            gathering.write(part)
        await asyncio.sleep(0)
        assert not gathering.is_closing()

    asyncio.run(write())
    assert transport.written == written


def test_closing_writes_what_was_kept() -> None:
    """A connection that is closed after a head has sent that head."""
    transport = Transport()

    async def write() -> None:
        gathering = Gathering(transport, asyncio.get_running_loop())  # type: ignore[arg-type]  # all that is used of one
        gathering.write(HEAD)
        gathering.close()
        await asyncio.sleep(0)

    asyncio.run(write())
    assert (transport.written, transport.closed) == ([HEAD], True)


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
