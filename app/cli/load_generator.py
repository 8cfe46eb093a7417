"""A load: requests that are sent over a few connections at planned moments, and what came of each.

In an open loop the moments are given, whether or not the server keeps up; in a closed loop each connection sends its
next request when the last is answered. A time is counted from the planned moment, so that a server that stalls is
charged for all that it kept waiting, and not for the few requests that it had. Knows nothing of what is in a request or
of how results are told, and neither TLS nor answers that only the end of their connection ends. Needs the main thread,
for its alarm is a signal.
"""

import asyncio
import itertools
import signal
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from typing import cast

from httptools import HttpParserError, HttpResponseParser

PATIENCE = 10.0  # seconds that connections are waited for at the start, and answers at the end
PAUSE = 0.1  # seconds after a connection failed, lest a server that is gone is asked as fast as we can


def arrivals(rate: float, seconds: float, even: bool) -> Iterator[float]:
    """Seconds from the start at which requests should start: at random as from independent users, or evenly spaced."""
    random = Random(0)  # the same at each run, so that runs can be compared
    moments = (
        (number / rate for number in itertools.count())
        if even
        else itertools.accumulate(random.expovariate(rate) for _ in itertools.count())
    )
    return itertools.takewhile(lambda moment: moment < seconds, moments)


@dataclass
class Tally:
    """What came of the requests. Moments and times are in seconds."""

    started: float = field(default_factory=perf_counter)
    window: float = 0.0  # while requests were to start
    last: float = 0.0  # moment of the last answer
    requests: int = 0
    latencies: list[float] = field(default_factory=list)  # of answers with 2xx, and of those given up
    lags: list[float] = field(default_factory=list)  # by which this process was late for a moment
    answered: int = 0  # with 2xx
    errors: Counter[int | str] = field(default_factory=Counter)  # by status, or by what happened instead of an answer
    sent: int = 0  # bytes
    received: int = 0  # bytes
    reopened: int = 0  # connections
    busy: float = 0.0  # share of the window in which this process computed, or wanted to and had no core


class Connection(asyncio.Protocol):
    """One connection, and the one request that may be under way on it."""

    transport: asyncio.Transport

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.parser = HttpResponseParser(self)
        self.planned: float | None = None  # when the request under way should have started
        self.fault = "connection closed"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.load.open.add(self)

    def send(self, planned: float, request: bytes) -> None:
        self.planned = planned
        self.load.tally.sent += len(request)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.load.tally.received += len(data)
        try:
            self.parser.feed_data(data)
        except HttpParserError:
            self.fault = "not HTTP"
            self.transport.abort()

    def on_message_complete(self) -> None:
        """Called by the parser."""
        reusable = self.planned is not None and self.parser.should_keep_alive()  # else it answers what was not asked
        if self.planned is not None:
            planned, self.planned = self.planned, None
            self.load.settle(planned, self.parser.get_status_code())
        if reusable:
            self.load.free(self)
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.load.open.discard(self)
        if self.planned is not None:
            self.load.settle(self.planned, self.fault)
        self.load.pump()


class Load:
    """Sends requests, in turn and again from the first, and keeps the tally."""

    def __init__(
        self,
        address: tuple[str, int],
        requests: Sequence[bytes],
        connections: int,
        seconds: float,
        moments: Iterator[float] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """``moments`` are seconds from the start, in order, below ``seconds``; without them it is a closed loop."""
        self.address = address
        self.requests = itertools.cycle(requests)
        self.connections = connections
        self.seconds = seconds
        self.patience = patience
        self.closed_loop = moments is None
        self.moments = moments or iter(())
        self.upcoming = inf  # the next of them, on the clock
        self.tally = Tally()
        self.waiting: deque[float] = deque()  # planned moments of requests that no connection was free for
        self.unsettled = 0  # requests that wait, or are under way
        self.open: set[Connection] = set()
        self.opening: set[asyncio.Task[None]] = set()
        self.idle: list[Connection] = []  # the one used last is used first: a server closes those that idle
        self.ended = asyncio.Event()  # no more requests are to start
        self.settled = asyncio.Event()  # and all that did are done with

    async def run(self) -> Tally:
        """Send for the given seconds, or until SIGINT, then wait for what is under way, or for another SIGINT.

        Raises:
            OSError: the connections could not be opened.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self.patience):
            await asyncio.gather(*(self.connect() for _ in range(self.connections)))
        loop.add_signal_handler(signal.SIGINT, self.interrupt)
        # The loop's own timers are as coarse as a millisecond, which is longer than most answers take.
        loop.add_signal_handler(signal.SIGALRM, self.due)
        try:
            computed, self.tally.started = core_seconds(), perf_counter()
            self.upcoming = self.tally.started + next(self.moments, inf)
            for _ in range(self.connections if self.closed_loop else 0):
                self.arrive(self.tally.started)
            self.due()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait(), self.seconds)
            self.due()
            self.upcoming = inf
            self.ended.set()
            self.tally.window = min(perf_counter() - self.tally.started, self.seconds)
            self.tally.busy = (core_seconds() - computed) / (perf_counter() - self.tally.started)
            if self.unsettled:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.settled.wait(), self.patience)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.give_up()
        return self.tally

    def interrupt(self) -> None:
        (self.settled if self.ended.is_set() else self.ended).set()

    def due(self) -> None:
        """Take in the requests that should have started by now, and set the alarm for the next."""
        while self.upcoming <= (now := perf_counter()):
            self.tally.lags.append(now - self.upcoming)
            self.arrive(self.upcoming)
            self.upcoming = self.tally.started + next(self.moments, inf)
        self.pump()
        if self.upcoming < inf:
            signal.setitimer(signal.ITIMER_REAL, max(self.upcoming - perf_counter(), 1e-6))  # 0 would set none

    def arrive(self, planned: float) -> None:
        self.tally.requests += 1
        self.unsettled += 1
        self.waiting.append(planned)

    def pump(self) -> None:
        """Send what waits on connections that are free, and open those that were lost where they are needed."""
        while self.waiting and self.idle:
            connection = self.idle.pop()
            if not connection.transport.is_closing():
                connection.send(self.waiting.popleft(), next(self.requests))
        missing = self.connections - len(self.open) - len(self.opening)
        for _ in range(min(missing, len(self.waiting) - len(self.opening))):
            task = asyncio.create_task(self.reopen())
            self.opening.add(task)
            task.add_done_callback(self.opened)

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(lambda: Connection(self), *self.address)
        if transport.is_closing():
            raise ConnectionAbortedError("it was closed at once")
        self.free(connection)

    async def reopen(self) -> None:
        try:
            await self.connect()
            self.tally.reopened += 1
        except OSError:
            await asyncio.sleep(PAUSE)
            if self.waiting:
                self.settle(self.waiting.popleft(), "no connection")

    def opened(self, task: asyncio.Task[None]) -> None:
        self.opening.discard(task)
        self.pump()

    def free(self, connection: Connection) -> None:
        self.idle.append(connection)
        self.pump()

    def settle(self, planned: float, outcome: int | str) -> None:
        """Note how a request ended. In a closed loop the next one is due."""
        now = perf_counter()
        self.unsettled -= 1
        if isinstance(outcome, int) and 200 <= outcome < 300:
            self.tally.answered += 1
            self.tally.latencies.append(now - planned)
            self.tally.last = now
        else:
            self.tally.errors[outcome] += 1
        if not self.ended.is_set():
            if self.closed_loop:
                self.arrive(now)
        elif not self.unsettled:
            self.settled.set()

    def give_up(self) -> None:
        """Close everything. What has no answer yet has a latency of what it has waited at least, and is an error."""
        now = perf_counter()
        under_way = [connection.planned for connection in self.open if connection.planned is not None]
        for planned in (*self.waiting, *under_way):
            self.tally.latencies.append(now - planned)
            self.tally.errors["no answer"] += 1
        self.waiting.clear()
        for connection in self.open:
            connection.planned = None
            connection.transport.abort()


def core_seconds() -> float:
    """Seconds for which this process has computed, or has wanted to while others had its core."""
    try:
        kept_waiting = int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):  # not Linux, or one that does not count it
        kept_waiting = 0.0
    return process_time() + kept_waiting
