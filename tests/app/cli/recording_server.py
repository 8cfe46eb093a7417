"""A small HTTP server on a real socket, which records what it receives and answers as a test wants."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

CLOSE = b""  # close the connection instead of answering
HANG = b"hang"  # never answer


def make_reply(status: int, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} Whatever\r\n{headers}Content-Length: 2\r\n\r\nok".encode()


@dataclass
class RecordingServer:
    """A server that gets its answers from a function of the request's number, and records the requests."""

    answer: Callable[[int], bytes]
    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    conversations: list[asyncio.Task[None]] = field(default_factory=list)
    listener: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        return len(self.conversations)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.conversations.append(asyncio.create_task(self.converse(reader, writer)))

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(line for line in head.split("\r\n") if line.startswith("Content-Length: "))
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(int(length.split()[1])))
                answer = self.answer(len(self.bodies) - 1)
                if answer == HANG:
                    await reader.read()
                if answer in (HANG, CLOSE):
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextmanager
def serving(answer: Callable[[int], bytes]) -> Iterator[RecordingServer]:
    """Run a recording server in a thread."""
    server, started, stop = RecordingServer(answer), threading.Event(), threading.Event()

    async def serve() -> None:
        async with await asyncio.start_server(server.on_connection, "127.0.0.1", 0) as listener:
            server.listener, server.port = listener, listener.sockets[0].getsockname()[1]
            started.set()
            await asyncio.to_thread(stop.wait)
        await asyncio.gather(*server.conversations)  # they end only because bench has closed its connections

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    try:
        yield server
    finally:
        stop.set()
        thread.join()
