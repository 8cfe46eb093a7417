"""What a connection is receiving, for how long, and how fast."""

from collections import deque
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class ReceiveTimeouts:
    """How slowly a request may arrive."""

    head_s: float = 5.0  # until the head is complete
    body_s: float = 60.0  # from then until the body is complete
    min_rate: float = 16_384.0  # bytes per second, averaged over ``rate_window_s``
    rate_window_s: float = 10.0


class Stage(Enum):
    """What a connection is receiving."""

    HEAD = "head"  # the head of a request, or the server waits for the first one
    BODY = "body"
    NONE = "none"  # the request is complete: a response is due, or the next request may follow
    REST = "rest"  # what still arrives is discarded, and then the connection is closed


class StageClock:
    """Measures the current stage of a connection.

    It has no timer. The server looks at each connection twice a second, and a stage starts when the server first sees
    it.
    """

    def __init__(self, timeouts: ReceiveTimeouts) -> None:
        self.stage = Stage.HEAD
        self.received = 0  # bytes, on the connection
        self._timeouts = timeouts
        self._received_before = 0  # this stage
        self._seen_since: float | None = None
        self._progress: deque[tuple[float, int]] = deque()  # time and ``received`` at each look in the rate window

    @property
    def received_in_stage(self) -> int:
        """How many bytes arrived since the stage began."""
        return self.received - self._received_before

    def begin(self, stage: Stage) -> None:
        """Begin a stage."""
        self.stage, self._received_before = stage, self.received
        self.restart()

    def restart(self) -> None:
        """Let the time begin again: the client is not the one who keeps the other waiting."""
        self._seen_since = None
        self._progress.clear()

    def elapsed(self, now: float) -> float:
        """Return for how many seconds the server has seen this stage."""
        if self._seen_since is None:
            self._seen_since = now
        return now - self._seen_since

    def is_slow(self, now: float) -> bool:
        """Return whether a body takes too long, or arrives too slowly over the last seconds."""
        window_s = self._timeouts.rate_window_s
        self._progress.append((now, self.received))
        window_start, received_before = self._progress[0]
        is_slow = False
        if now - window_start >= window_s:
            self._progress.popleft()
            is_slow = self.received - received_before < self._timeouts.min_rate * window_s
        return is_slow or self.elapsed(now) >= self._timeouts.body_s
