"""uvicorn's server, with more than one way to listen and an end in steps.

Connections are accepted several at a time: uvloop takes one from a listening socket each time that it turns, so that of
500 that come at once the last would wait for more than a second. On SIGTERM the service says that it is not ready and
goes on for a while, so that whoever sends it requests has time to notice.
"""

import asyncio
import ctypes
import math
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

from app.server.http_protocol import HttpProtocol

ACCEPTED = 16  # connections in a turn of the event loop at most
LOOKED = 0.5  # seconds from one look at a connection to the next
TOGETHER = 16  # connections that are looked at in a turn of the loop
SHAKEN = 0.05  # seconds in which a connection that is being made is made
NEW = 0.5  # seconds for which a connection that was just made is waited for, at the end
SO_ATTACH_FILTER = 26  # of asm-generic/socket.h
LAST = 1.0  # seconds of the grace that are kept for the end itself


def turn_away(listener: int) -> None:
    """Have the kernel make no new connections for a listening socket, and keep those that wait to be accepted.

    What waits when a socket is closed is lost, and between the last look and the close there is always time for one
    more. So a filter drops what opens a connection: the client tries again, and finds the socket closed. On Linux.
    """
    if not sys.platform.startswith("linux"):
        return
    load_flags, mask, is_syn, drop, keep = (
        struct.pack("HBBI", *instruction)
        for instruction in (
            (0x30, 0, 0, 13),
            (0x54, 0, 0, 0x12),
            (0x15, 0, 1, 0x02),
            (0x06, 0, 0, 0),
            (0x06, 0, 0, ~0 & 0xFFFFFFFF),
        )
    )  # of classic BPF, as linux/filter.h has it: byte 13 of TCP's header, its SYN and ACK, and if that is SYN alone…
    program = ctypes.create_string_buffer(load_flags + mask + is_syn + drop + keep)
    with socket.socket(fileno=os.dup(listener)) as same, suppress(OSError):
        same.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", 5, ctypes.addressof(program)))


class Server(uvicorn.Server):
    """A server whose listening socket is listened to several times over."""

    def __init__(self, config: uvicorn.Config, drain: float, grace: float) -> None:
        """``drain``: seconds that are served after SIGTERM; ``grace``: seconds from a signal to the end at most."""
        super().__init__(config)
        self._drain_seconds, self._grace = drain, grace
        self._signals: list[tuple[int, float]] = []  # and when they came

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._signals:  # told to stop before it began
            return
        await super().startup(sockets)
        if self._signals:
            self._drain_seconds = 0  # nobody can have found it ready
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
        """Look at the connections, a few at a time: to turn many away at once would keep the others waiting."""
        while True:
            connections = [each for each in self.server_state.connections if isinstance(each, HttpProtocol)]
            steps = max(1, math.ceil(len(connections) / TOGETHER))
            for start in range(steps):
                await asyncio.sleep(LOOKED / steps)
                now = time.monotonic()
                for connection in connections[start * TOGETHER : (start + 1) * TOGETHER]:
                    connection.look(now)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal to stop; from now on the service is not ready."""
        self._signals.append((sig, time.monotonic()))
        if self.started:
            self.lifespan.state["service"].draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on for a while, take in what has reached the socket, then end as uvicorn does."""
        began = self._signals[0][1] if self._signals else time.monotonic()
        if self._signals and self._signals[0][0] == signal.SIGTERM:
            # A second signal ends it, and comes in a signal handler, where no event may be set.
            while time.monotonic() < began + self._drain_seconds and len(self._signals) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        last = began + self._grace - LAST
        if sockets is None:  # else they are others', too, and whoever made them sees to that
            for server in self.servers[:1]:
                for listener in server.sockets:
                    turn_away(listener.fileno())
        await asyncio.sleep(SHAKEN)
        await self._take_in()
        for server in self.servers:
            server.close()
        await self._finish(last)
        # Seconds, and parts of them, for what uvicorn waits for still.
        self.config.timeout_graceful_shutdown = max(0.1, last - time.monotonic())  # type: ignore[assignment]
        self._looking.cancel()
        await super().shutdown(sockets)

    async def _finish(self, last: float) -> None:
        """Wait for the answers that are due, and a little for the first request of connections that are new."""
        closed = time.monotonic()
        while time.monotonic() < last:
            patience = time.monotonic() < closed + NEW
            if not any(
                connection.waits_for_answer or (patience and connection.is_new)
                for connection in self.server_state.connections
                if isinstance(connection, HttpProtocol)
            ):
                return
            await asyncio.sleep(0.02)

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
