"""uvicorn's server and its HTTP, with two things done otherwise.

The head and the body of an answer are one write: uvicorn hands them to the transport one after the other, and uvloop
makes a system call of each, a tenth of what an answer costs. And connections are accepted several at a time: uvloop
takes one from a listening socket each time that it turns, so that of 500 that come at once the last would wait for more
than a second. Knows nothing of what is answered.
"""

import asyncio
import os
import socket
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ACCEPTED = 16  # connections in a turn of the event loop at most


class Gathering:
    """A transport that keeps the head of an answer until its body comes, or until the event loop has turned."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/") and data.endswith(b"\r\n\r\n"):
            self._head = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        """All else is the transport's own."""
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """For uvicorn's setting ``http``."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(Gathering(transport, self.loop))  # type: ignore[arg-type]  # it is one in all that is used


class Server(uvicorn.Server):
    """A server whose listening socket is listened to several times over."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        made_of: Any = self.config.http_protocol_class
        protocol = partial(made_of, config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        loop = asyncio.get_running_loop()
        for listener in [listener for server in self.servers for listener in server.sockets]:
            for _ in range(ACCEPTED - 1):
                again = socket.socket(fileno=os.dup(listener.fileno()))
                self.servers.append(await loop.create_server(protocol, sock=again, backlog=self.config.backlog))
