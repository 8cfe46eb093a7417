"""Bounds how long the server parses requests in one iteration of the event loop.

libuv reads from all ready connections before anything else runs, and thousands of them may be ready. Health checks,
which come on new connections, would wait for all of them twice: to be accepted, and to be read. So after a while, what
arrives is only stored, and parsed in the next iterations, in the order of arrival.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from app.http.paths import HEALTH_BODIES

MAX_PARSE_S = 0.02  # per iteration
MAX_WAIT_S = 0.5  # then a new request is refused: its client would wait too long for the answer
# How health checks start. They are parsed at once.
URGENT = tuple(b"%b %b" % (method, path) for method in (b"GET", b"HEAD") for path in HEALTH_BODIES)


class ReadQueue:
    """The connections of a server whose last bytes have not been parsed."""

    def __init__(self) -> None:
        self._until = 0.0  # when this iteration may parse no more, by time.perf_counter; 0 before it parses anything
        self._waiting: deque[tuple[float, Callable[[bool], None]]] = deque()  # since when

    def must_wait(self, data: bytes) -> bool:
        """Return whether bytes that have just arrived must wait for a later iteration."""
        if not self._until:
            self._begin_iteration()
            return bool(self._waiting) and not data.startswith(URGENT)
        return (bool(self._waiting) or time.perf_counter() > self._until) and not data.startswith(URGENT)

    def add(self, parse: Callable[[bool], None]) -> None:
        """Call a function when it is its turn. It parses what one connection has received.

        Args:
            parse: Gets whether it has waited for longer than ``MAX_WAIT_S``.
        """
        self._waiting.append((time.perf_counter(), parse))

    def _begin_iteration(self) -> None:
        self._until = time.perf_counter() + MAX_PARSE_S
        asyncio.get_running_loop().call_soon(self._end_iteration)

    def _end_iteration(self) -> None:
        """Parse what waits, for as long as an iteration may."""
        self._until = 0.0
        if not self._waiting:
            return
        self._begin_iteration()
        while self._waiting:
            now = time.perf_counter()
            since, parse = self._waiting.popleft()
            parse(now - since > MAX_WAIT_S)
            if now > self._until:
                break
