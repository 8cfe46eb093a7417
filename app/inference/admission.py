"""What may be under way at once: requests, the pixels that they hold, and the bytes of their bodies.

A request is looked at when its headers are there, so that a refusal costs next to nothing, and counts from when its
body is complete, so that a slow upload keeps nobody out. Knows no HTTP.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import OverloadedError

TOO_MANY_REQUESTS = "Too many requests wait already."
LONGEST = 30  # seconds that anyone is told to wait
MEASURED = 1.0  # seconds over which the rate of answers is taken


class Admission:
    """Counts what is under way, and refuses what would be too much.

    Args:
        max_requests: complete requests that may wait for their answer.
        max_pixels: pixels of the pictures that are being decoded, or wait to be; a single larger one is let in alone.
        max_bytes: of bodies that still arrive, beyond their first packet.
    """

    def __init__(self, max_requests: int, max_pixels: int, max_bytes: int) -> None:
        self._max_requests, self._max_pixels, self._max_bytes = max_requests, max_pixels, max_bytes
        self.requests = 0
        self.pixels = 0
        self.bytes = 0
        self._answered = 0
        self._rate = 0.0  # answers a second, lately
        self._marked = time.perf_counter(), 0

    @property
    def room(self) -> int:
        """How many more requests may come for now."""
        return self._max_requests - self.requests

    def check(self) -> None:
        """Tell whether one more request may come.

        Raises:
            OverloadedError: too many wait.
        """
        if self.requests >= self._max_requests:
            raise OverloadedError(TOO_MANY_REQUESTS, self.retry_after())

    def enter(self) -> None:
        """Count a request, now that its body is complete.

        Raises:
            OverloadedError: too many wait: others were quicker.
        """
        self.check()
        if not self.requests:  # a rate is of time in which there was something to do
            self._marked = time.perf_counter(), self._answered
        self.requests += 1

    def leave(self) -> None:
        """Count its answer."""
        self.requests -= 1
        self._answered += 1

    @contextmanager
    def holding_pixels(self, count: int) -> Iterator[None]:
        """Count the pixels of a picture while it is worked on.

        Raises:
            OverloadedError: there are too many of them under way.
        """
        if self.pixels and self.pixels + count > self._max_pixels:
            raise OverloadedError("Too many large pictures wait already.", self.retry_after())
        self.pixels += count
        try:
            yield
        finally:
            self.pixels -= count

    def hold_bytes(self, count: int) -> None:
        """Count bytes of a body that still arrives; whoever holds them lets go of them with a negative count.

        Raises:
            OverloadedError: there are too many of them; these were not counted.
        """
        if count > 0 and self.bytes + count > self._max_bytes:
            raise OverloadedError("Too many uploads are under way already.", self.retry_after())
        self.bytes += count

    def retry_after(self) -> int:
        """Whole seconds after which those that wait now will have been answered, at the rate of lately."""
        now = time.perf_counter()
        since, count = self._marked
        if now - since >= MEASURED:
            self._rate = (self._answered - count) / (now - since)
            self._marked = now, self._answered
        if not self._rate:
            return 1
        return min(LONGEST, max(1, math.ceil(self.requests / self._rate)))
