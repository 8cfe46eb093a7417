"""uvicorn's server, except that it accepts connections faster and shuts down in steps.

On SIGTERM, the service reports that it is not ready and keeps serving for a while, so that its clients have time to
notice.
"""

import asyncio
import gc
import logging
import math
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

import uvicorn

from app.server.announcement import announce
from app.server.http_protocol import HttpProtocol
from app.server.listeners import describe, stop_new_connections
from app.settings import SHUTDOWN_RESERVE_S

logger = logging.getLogger(__name__)

# Number of new objects that starts a garbage collection. A busy event loop reaches Python's default of 700 in one
# iteration. Under overload, with thousands of connections whose objects live long, collections cost a third of the
# throughput.
GC_THRESHOLD = 20_000
GIL_SWITCH_S = 0.0005  # how long another thread may hold the GIL while the event loop waits; Python's default is 0.005
# Connections accepted in one iteration of the event loop. libuv accepts one per listening socket, so each address has
# as many. With one, the last of 500 new connections waits for more than 20 s while 64 others keep the service busy;
# with 16, for 1 to 3 s.
MAX_ACCEPTS = 16
CHECK_INTERVAL_S = 0.5  # between two checks of a connection
CHECK_BATCH = 16  # connections checked in one iteration of the event loop
POLL_INTERVAL_S = 0.02  # between two looks at what the shutdown waits for
HANDSHAKE_S = 0.05  # for TCP handshakes in progress to finish
FIRST_REQUEST_S = 0.5  # for the first request on a new connection to arrive, during shutdown
SIGN_INTERVAL_S = 1.0  # between two signs of life of a worker


class Server(uvicorn.Server):
    """A server that accepts connections faster than uvicorn's, checks timeouts and shuts down in steps.

    Args:
        drain_s: How long it keeps serving after SIGTERM.
        grace_s: The longest time from a signal until the server has stopped.
        pipe: File descriptor of a worker's pipe to its supervisor, which then also stops new connections.
    """

    def __init__(self, config: uvicorn.Config, drain_s: float, grace_s: float, pipe: int | None = None) -> None:
        super().__init__(config)
        self._drain_s, self._grace_s, self._pipe = drain_s, grace_s, pipe
        self._signals: list[tuple[int, float]] = []  # each signal and when it arrived

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the app and listen on ``sockets``, and on nothing else."""
        if self._signals:  # a signal to stop arrived before the start
            return
        self._listeners = sockets or []
        with ExitStack() as copies:  # closes them if the start fails
            numbers = [os.dup(each.fileno()) for each in self._listeners for _ in range(MAX_ACCEPTS)]
            try:
                await super().startup([copies.enter_context(socket.socket(fileno=number)) for number in numbers])
            except OSError as error:  # another program began to listen there after the sockets were bound
                logger.error("cannot listen on %s: %s", describe(self._listeners), error.strerror)
                await self.lifespan.shutdown()
                sys.exit(uvicorn.config.STARTUP_FAILURE)
            copies.pop_all()
        if self._signals:
            self._drain_s = 0  # no client can have seen the service ready
        gc.collect()
        sys.setswitchinterval(GIL_SWITCH_S)
        gc.set_threshold(GC_THRESHOLD)
        gc.freeze()  # full collections skip the objects that exist now, which saves 50 ms
        self._checking = asyncio.create_task(self._check_connections())
        if self._pipe is not None:
            self._signing = asyncio.create_task(self._show_life(self._pipe))
        elif sockets:
            logger.info("%s", announce(sockets))

    async def _check_connections(self) -> None:
        """Check all connections regularly, a few at a time: to close many at once would make the others wait."""
        while True:
            connections = [each for each in self.server_state.connections if isinstance(each, HttpProtocol)]
            steps = max(1, math.ceil(len(connections) / CHECK_BATCH))
            for start in range(steps):
                await asyncio.sleep(CHECK_INTERVAL_S / steps)
                now = time.monotonic()
                for connection in connections[start * CHECK_BATCH : (start + 1) * CHECK_BATCH]:
                    try:
                        connection.check(now)
                    except Exception:  # the others must be checked all the same
                        logger.exception("a connection could not be checked")

    async def _show_life(self, pipe: int) -> None:
        """Write to the supervisor regularly, and stop when it has gone: a new one needs the port."""
        os.set_blocking(pipe, False)
        while True:
            try:
                os.write(pipe, b".")
            except BlockingIOError:  # the supervisor is suspended
                pass
            except OSError:
                logger.error("the supervisor has ended, so this worker ends too")
                self.handle_exit(signal.SIGINT, None)
                return
            await asyncio.sleep(SIGN_INTERVAL_S)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals as uvicorn does, but write the last lines of the log before a signal ends the process."""
        with super().capture_signals():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # a supervisor blocks it until here
            yield
            logging.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Record a signal to stop. From now on, the service is not ready."""
        if self._pipe is not None and self._signals and sig == self._signals[0][0] == signal.SIGINT:
            return  # a terminal sends Ctrl-C to the worker and its supervisor, which passes it on
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
        if self._pipe is None:
            for listener in self._listeners:
                stop_new_connections(listener.fileno())
        await self._accept_waiting(deadline)
        for server in self.servers:
            server.close()
        await self._finish_requests(deadline)
        # The time for what uvicorn still waits for, in seconds and fractions.
        self.config.timeout_graceful_shutdown = max(0.1, deadline - time.monotonic())  # type: ignore[assignment]
        self._checking.cancel()
        await super().shutdown(sockets)

    async def _accept_waiting(self, deadline: float) -> None:
        """Wait until all connections are accepted: closing the socket would lose those that wait."""
        waiting = select.poll()
        for listener in self._listeners:
            waiting.register(listener, select.POLLIN)
        await asyncio.sleep(HANDSHAKE_S)
        while waiting.poll(0) and time.monotonic() < deadline:  # noqa: ASYNC110  # a socket sets no event
            await asyncio.sleep(POLL_INTERVAL_S)

    async def _finish_requests(self, deadline: float) -> None:
        """Wait until all responses are sent, and a moment for the first request on each new connection."""
        closed = time.monotonic()
        while time.monotonic() < deadline:
            await asyncio.sleep(POLL_INTERVAL_S)
            await_first = time.monotonic() < closed + FIRST_REQUEST_S
            if not any(
                connection.is_busy or (await_first and connection.is_new)
                for connection in self.server_state.connections
                if isinstance(connection, HttpProtocol)
            ):
                return
