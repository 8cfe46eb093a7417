"""uvicorn's server, with more than one way to listen and an end in steps.

Connections are accepted several at a time: uvloop takes one from a listening socket each time that it turns, so that of
500 that come at once the last would wait for more than a second. On SIGTERM the service says that it is not ready and
goes on for a while, so that whoever sends it requests has time to notice.
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

ACCEPTED = 16  # connections in a turn of the event loop at most
LOOKED = 0.5  # seconds from one look at all connections to the next
LAST = 1.0  # seconds of the grace that are kept for the end itself


class Server(uvicorn.Server):
    """A server whose listening socket is listened to several times over."""

    def __init__(self, config: uvicorn.Config, drain: float, grace: float) -> None:
        """``drain``: seconds that are served after SIGTERM; ``grace``: seconds from a signal to the end at most."""
        super().__init__(config)
        self._drain_seconds, self._grace = drain, grace
        self._signals: list[tuple[int, float]] = []  # and when they came

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._protocol = self._protocol_factory()
        loop = asyncio.get_running_loop()
        for listener in [listener for server in self.servers for listener in server.sockets]:
            for _ in range(ACCEPTED - 1):
                again = socket.socket(fileno=os.dup(listener.fileno()))
                self.servers.append(await loop.create_server(self._protocol, sock=again, backlog=self.config.backlog))
        self._looking = asyncio.create_task(self._look())

    def _protocol_factory(self) -> Callable[[], asyncio.Protocol]:
        made_of: Any = self.config.http_protocol_class
        return partial(made_of, config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def _look(self) -> None:
        """Look at the connections, now and then."""
        while True:
            await asyncio.sleep(LOOKED)
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                if look := getattr(connection, "look", None):  # a WebSocket's has none
                    look(now)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal to stop; from now on the service is not ready."""
        self._signals.append((sig, time.monotonic()))
        if service := self.lifespan.state.get("service"):
            service.draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on for a while, take in what has reached the socket, then end as uvicorn does."""
        began = self._signals[0][1] if self._signals else time.monotonic()
        if self._signals and self._signals[0][0] == signal.SIGTERM:
            # A second signal ends it, and comes in a signal handler, where no event may be set.
            while time.monotonic() < began + self._drain_seconds and len(self._signals) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await self._take_in()
        left = began + self._grace - LAST - time.monotonic()
        self.config.timeout_graceful_shutdown = max(0.1, left)  # type: ignore[assignment]  # seconds, and parts of them
        self._looking.cancel()
        await super().shutdown(sockets)

    async def _take_in(self) -> None:
        """Accept the connections that wait to be, for a socket that is closed loses them."""
        loop = asyncio.get_running_loop()
        for listener in self.servers[0].sockets:
            socket_ = socket.socket(fileno=os.dup(listener.fileno()))
            with socket_:
                socket_.setblocking(False)
                while True:
                    try:
                        accepted, _ = socket_.accept()
                    except OSError:  # none, or it was gone again
                        break
                    await loop.connect_accepted_socket(self._protocol, accepted)
