"""Limits how much is in progress at once: requests, the pixels of their pictures, and the bytes of their bodies.

A request is checked when its headers have arrived, so that a refusal costs next to nothing. It counts only once its
body is complete, so that slow uploads keep nobody out.

This module knows nothing of HTTP.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import OverloadedError

TOO_MANY_REQUESTS = "Too many requests are waiting."
MAX_RETRY_AFTER_S = 30
RATE_WINDOW_S = 1.0  # over which the rate of answers is measured


class Admission:
    """Counts what is in progress, and refuses what would be too much.

    Args:
        max_requests: How many complete requests may wait for their answer.
        max_pixels: How many pixels of pictures may be in progress. A single larger picture is accepted if it is the
            only one.
        max_bytes: How many bytes of unfinished uploads may be held, beyond their first packets.
    """

    def __init__(self, max_requests: int, max_pixels: int, max_bytes: int) -> None:
        self._max_requests, self._max_pixels, self._max_bytes = max_requests, max_pixels, max_bytes
        self.requests = 0
        self.is_closed = False  # too many requests wait to be read, so the one that is being read is refused
        self.pixels = 0
        self.bytes = 0
        self._answers = 0
        self._rate = 0.0  # recent answers per second
        self._mark = time.perf_counter(), 0  # when the measurement of the rate began, and the answers until then

    @property
    def room(self) -> int:
        """How many more requests may enter now."""
        return 0 if self.is_closed else self._max_requests - self.requests

    def check(self) -> None:
        """Check that there is room for one more request.

        Raises:
            OverloadedError: Too many requests are waiting.
        """
        if self.requests >= self._max_requests:
            raise OverloadedError(TOO_MANY_REQUESTS, self.retry_after())

    def enter(self) -> None:
        """Count a request whose body is complete.

        Raises:
            OverloadedError: Too many requests are waiting. Others were quicker.
        """
        self.check()
        if not self.requests:  # idle time must not lower the rate
            self._mark = time.perf_counter(), self._answers
        self.requests += 1

    def leave(self) -> None:
        """Count the answer to a request."""
        self.requests -= 1
        self._answers += 1

    @contextmanager
    def holding_pixels(self, count: int) -> Iterator[None]:
        """Count the pixels of a picture while it is in progress.

        Raises:
            OverloadedError: Too many pixels are in progress.
        """
        if self.pixels and self.pixels + count > self._max_pixels:
            raise OverloadedError("Too many large pictures are waiting.", self.retry_after())
        self.pixels += count
        try:
            yield
        finally:
            self.pixels -= count

    def hold_bytes(self, count: int) -> None:
        """Count bytes of an unfinished upload. A negative count releases them.

        Raises:
            OverloadedError: There are too many. These were not counted.
        """
        if count > 0 and self.bytes + count > self._max_bytes:
            raise OverloadedError("Too many uploads are in progress.", self.retry_after())
        self.bytes += count

    def retry_after(self) -> int:
        """Return in how many seconds the requests that wait now will be answered, at the recent rate."""
        now = time.perf_counter()
        since, count = self._mark
        if now - since >= RATE_WINDOW_S:
            self._rate = (self._answers - count) / (now - since)
            self._mark = now, self._answers
        if not self._rate:
            return 1
        return min(MAX_RETRY_AFTER_S, max(1, math.ceil(self.requests / self._rate)))
