"""uvicorn's server, except that it accepts connections faster and shuts down in steps.

It accepts several connections per iteration of the event loop. uvloop accepts one per listening socket, so that the
last of 500 simultaneous connections would wait for more than a second. On SIGTERM, the service reports that it is not
ready and keeps serving for a while, so that its clients have time to notice.
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

MAX_ACCEPTS = 16  # connections accepted in one iteration of the event loop
CHECK_INTERVAL_S = 0.5  # between two checks of a connection
CHECK_BATCH = 16  # connections checked in one iteration of the event loop
POLL_INTERVAL_S = 0.02  # between two looks at what the shutdown waits for
HANDSHAKE_S = 0.05  # for TCP handshakes in progress to finish
FIRST_REQUEST_S = 0.5  # for the first request on a new connection to arrive, during shutdown
SHUTDOWN_RESERVE_S = 1.0  # part of the grace period that is kept for the shutdown itself
SO_ATTACH_FILTER = 26  # from asm-generic/socket.h


def stop_new_connections(listener: int) -> None:
    """Make the kernel drop new connections to a listening socket. Those that wait to be accepted stay. Linux only.

    Closing a socket loses the connections that wait to be accepted, and one more can always arrive between the last
    accept and the close. A filter therefore drops the packets that open a connection. The client sends the packet
    again, and finds the socket closed.
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
    )  # classic BPF (linux/filter.h): load byte 13 of the TCP header, keep SYN and ACK, drop if only SYN is set
    program = ctypes.create_string_buffer(load_flags + mask + is_syn + drop + keep)
    with socket.socket(fileno=os.dup(listener)) as duplicate, suppress(OSError):
        duplicate.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", 5, ctypes.addressof(program)))


class Server(uvicorn.Server):
    """A server that accepts connections faster than uvicorn's, checks timeouts and shuts down in steps.

    Args:
        drain_s: How long it keeps serving after SIGTERM.
        grace_s: The longest time from a signal until the server has stopped.
    """

    def __init__(self, config: uvicorn.Config, drain_s: float, grace_s: float) -> None:
        super().__init__(config)
        self._drain_s, self._grace_s = drain_s, grace_s
        self._signals: list[tuple[int, float]] = []  # each signal and when it arrived

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._signals:  # a signal to stop arrived before the start
            return
        await super().startup(sockets)
        if self._signals:
            self._drain_s = 0  # no client can have seen the service ready
        self._protocol = self._protocol_factory()
        loop = asyncio.get_running_loop()
        for listener in [listener for server in self.servers for listener in server.sockets]:
            for _ in range(MAX_ACCEPTS - 1):
                duplicate = socket.socket(fileno=os.dup(listener.fileno()))
                self.servers.append(
                    await loop.create_server(self._protocol, sock=duplicate, backlog=self.config.backlog)
                )
        self._checking = asyncio.create_task(self._check_connections())

    def _protocol_factory(self) -> Callable[[], asyncio.Protocol]:
        protocol: Any = self.config.http_protocol_class
        return partial(protocol, config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def _check_connections(self) -> None:
        """Check all connections regularly, a few at a time: to close many at once would make the others wait."""
        while True:
            connections = [each for each in self.server_state.connections if isinstance(each, HttpProtocol)]
            steps = max(1, math.ceil(len(connections) / CHECK_BATCH))
            for start in range(steps):
                await asyncio.sleep(CHECK_INTERVAL_S / steps)
                now = time.monotonic()
                for connection in connections[start * CHECK_BATCH : (start + 1) * CHECK_BATCH]:
                    connection.check(now)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Record a signal to stop. From now on, the service is not ready."""
        self._signals.append((sig, time.monotonic()))
        if self.started:
            self.lifespan.state["service"].draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Keep serving for a while, accept the connections that wait, then shut down as uvicorn does."""
        started = self._signals[0][1] if self._signals else time.monotonic()
        if self._signals and self._signals[0][0] == signal.SIGTERM:
            # A second signal ends the wait. It arrives in a signal handler, which must not set an asyncio event.
            while time.monotonic() < started + self._drain_s and len(self._signals) < 2:  # noqa: ASYNC110
                await asyncio.sleep(POLL_INTERVAL_S)
        deadline = started + self._grace_s - SHUTDOWN_RESERVE_S
        if sockets is None:  # otherwise other processes use them too, and their supervisor does this
            for server in self.servers[:1]:
                for listener in server.sockets:
                    stop_new_connections(listener.fileno())
        await asyncio.sleep(HANDSHAKE_S)
        await self._accept_waiting()
        for server in self.servers:
            server.close()
        await self._finish_requests(deadline)
        # The time for what uvicorn still waits for, in seconds and fractions.
        self.config.timeout_graceful_shutdown = max(0.1, deadline - time.monotonic())  # type: ignore[assignment]
        self._checking.cancel()
        await super().shutdown(sockets)

    async def _finish_requests(self, deadline: float) -> None:
        """Wait until all responses are sent, and a moment for the first request on each new connection."""
        closed = time.monotonic()
        while time.monotonic() < deadline:
            await_first = time.monotonic() < closed + FIRST_REQUEST_S
            if not any(
                connection.is_busy or (await_first and connection.is_new)
                for connection in self.server_state.connections
                if isinstance(connection, HttpProtocol)
            ):
                return
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _accept_waiting(self) -> None:
        """Accept the connections that wait to be accepted: closing the socket would lose them."""
        loop = asyncio.get_running_loop()
        for listener in self.servers[0].sockets:
            duplicate = socket.socket(fileno=os.dup(listener.fileno()))
            with duplicate:
                duplicate.setblocking(False)
                while True:
                    try:
                        connection, _ = duplicate.accept()
                    except OSError:  # none waits, or the client closed it
                        break
                    await loop.connect_accepted_socket(self._protocol, connection)
