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
REFUSALS_PER_ANSWER = 6  # while the queue is too long. Refusing all of it would leave no time for answers
# How health checks start. They are parsed at once.
URGENT = tuple(b"%b %b" % (method, path) for method in (b"GET", b"HEAD") for path in HEALTH_BODIES)


class ReadQueue:
    """The connections of a server whose last bytes have not been parsed.

    Args:
        max_waiting: How many may wait. While more do, most of the first in the queue are refused, which takes a
            fraction of the time. Refusing the last ones instead would make every client wait as long as possible.
    """

    def __init__(self, max_waiting: int = 1024) -> None:
        self._max_waiting = max_waiting
        self._refused = 0  # since the last one that was not
        self._until = 0.0  # when this iteration may parse no more, by time.perf_counter; 0 before it parses anything
        self._waiting: deque[Callable[[bool], None]] = deque()

    def must_wait(self, data: bytes) -> bool:
        """Return whether bytes that have just arrived must wait for a later iteration."""
        if not self._until:
            self._begin_iteration()
            return bool(self._waiting) and not data.startswith(URGENT)
        return (bool(self._waiting) or time.perf_counter() > self._until) and not data.startswith(URGENT)

    def add(self, parse: Callable[[bool], None]) -> None:
        """Call a function when it is its turn. It parses what one connection has received.

        Args:
            parse: Gets whether to refuse a request that begins there, because too many others wait.
        """
        self._waiting.append(parse)

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
            parse = self._waiting.popleft()
            refuse = len(self._waiting) >= self._max_waiting and self._refused < REFUSALS_PER_ANSWER
            self._refused = self._refused + 1 if refuse else 0
            parse(refuse)
            if time.perf_counter() > self._until:
                break
