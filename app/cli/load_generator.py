"""A load generator: sends requests over several connections at planned times, and records the result of each.

In an open loop, requests start at given times, whether or not the server keeps up. In a closed loop, each connection
sends its next request when the last one is answered. A latency counts from the planned time, so a server that stalls is
charged for every request that it delayed, and not only for the few that it had received.

This module does not know what a request contains or how results are printed. It supports neither TLS nor answers that
end with their connection. It must run in the main thread, because its timer is a signal.
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

MAX_WAIT_S = 10.0  # for connections at the start, and for answers at the end
RECONNECT_PAUSE_S = 0.1  # after a failed connection, so that a server that is down is not flooded with attempts


def plan_starts(rate: float, seconds: float, even: bool) -> Iterator[float]:
    """Plan when requests start, in seconds from the beginning: at random like independent users, or evenly spaced."""
    random = Random(0)  # the same times in each run, so that runs can be compared
    starts = (
        (number / rate for number in itertools.count())
        if even
        else itertools.accumulate(random.expovariate(rate) for _ in itertools.count())
    )
    return itertools.takewhile(lambda start: start < seconds, starts)


@dataclass
class Tally:
    """The results of a load. All times are in seconds, by ``perf_counter``."""

    started: float = field(default_factory=perf_counter)
    window: float = 0.0  # for how long requests started
    last_answer: float = 0.0  # when the last 2xx answer arrived
    requests: int = 0
    latencies: list[float] = field(default_factory=list)  # of 2xx answers, and of requests that were given up
    lags: list[float] = field(default_factory=list)  # how late this process was for each planned time
    answered: int = 0  # with 2xx
    errors: Counter[int | str] = field(default_factory=Counter)  # by status, or by what happened instead of an answer
    bytes_sent: int = 0
    bytes_received: int = 0
    reopened: int = 0  # connections
    busy: float = 0.0  # share of the window in which this process computed, or waited for a core to compute on


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time."""

    transport: asyncio.Transport

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.parser = HttpResponseParser(self)
        self.planned: float | None = None  # when the current request should have started
        self.fault = "connection closed"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.load.open.add(self)

    def send(self, planned: float, request: bytes) -> None:
        self.planned = planned
        self.load.tally.bytes_sent += len(request)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.load.tally.bytes_received += len(data)
        try:
            self.parser.feed_data(data)
        except HttpParserError:
            self.fault = "not HTTP"
            self.transport.abort()

    def on_message_complete(self) -> None:
        """Handle the end of an answer. Called by the parser."""
        # Without a current request, nobody asked for this answer.
        reusable = self.planned is not None and self.parser.should_keep_alive()
        if self.planned is not None:
            planned, self.planned = self.planned, None
            self.load.finish(planned, self.parser.get_status_code())
        if reusable:
            self.load.reuse(self)
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.load.open.discard(self)
        if self.planned is not None:
            self.load.finish(self.planned, self.fault)
        self.load.send_waiting()


class Load:
    """Sends requests in turn, starting again after the last one, and keeps the tally.

    Args:
        address: The host and port of the server.
        requests: Complete HTTP requests.
        connections: How many connections to open.
        seconds: For how long requests start.
        starts: When requests start, in seconds from the beginning, in order. None makes a closed loop.
        max_wait_s: How many seconds to wait for connections at the start, and for answers at the end.
    """

    def __init__(
        self,
        address: tuple[str, int],
        requests: Sequence[bytes],
        connections: int,
        seconds: float,
        starts: Iterator[float] | None = None,
        max_wait_s: float = MAX_WAIT_S,
    ) -> None:
        self.address = address
        self.requests = itertools.cycle(requests)
        self.connections = connections
        self.seconds = seconds
        self.max_wait_s = max_wait_s
        self.closed_loop = starts is None
        self.starts = starts or iter(())
        self.next_start = inf  # by perf_counter
        self.tally = Tally()
        self.queue: deque[float] = deque()  # planned times of requests that wait for a connection
        self.unfinished = 0  # requests that wait or have no answer yet
        self.open: set[Connection] = set()
        self.opening: set[asyncio.Task[None]] = set()
        self.idle: list[Connection] = []  # the last one used is used first: a server closes connections that stay idle
        self.stopped = asyncio.Event()  # no more requests start
        self.finished = asyncio.Event()  # and all of them have ended

    async def run(self) -> Tally:
        """Send for the given time or until SIGINT. Then wait for the remaining answers, or for another SIGINT.

        Raises:
            OSError: The connections could not be opened.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self.max_wait_s):
            await asyncio.gather(*(self.connect() for _ in range(self.connections)))
        loop.add_signal_handler(signal.SIGINT, self.interrupt)
        # The loop's own timers have a resolution of a millisecond, which is longer than most answers take.
        loop.add_signal_handler(signal.SIGALRM, self.start_due_requests)
        try:
            computed, self.tally.started = core_seconds(), perf_counter()
            self.next_start = self.tally.started + next(self.starts, inf)
            for _ in range(self.connections if self.closed_loop else 0):
                self.enqueue(self.tally.started)
            self.start_due_requests()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopped.wait(), self.seconds)
            self.start_due_requests()
            self.next_start = inf
            self.stopped.set()
            self.tally.window = min(perf_counter() - self.tally.started, self.seconds)
            self.tally.busy = (core_seconds() - computed) / (perf_counter() - self.tally.started)
            if self.unfinished:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.finished.wait(), self.max_wait_s)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.give_up()
        return self.tally

    def interrupt(self) -> None:
        """Start no more requests. The second time, wait for no more answers."""
        (self.finished if self.stopped.is_set() else self.stopped).set()

    def start_due_requests(self) -> None:
        """Enqueue the requests that should have started by now, and set the timer for the next one."""
        while self.next_start <= (now := perf_counter()):
            self.tally.lags.append(now - self.next_start)
            self.enqueue(self.next_start)
            self.next_start = self.tally.started + next(self.starts, inf)
        self.send_waiting()
        if self.next_start < inf:
            signal.setitimer(signal.ITIMER_REAL, max(self.next_start - perf_counter(), 1e-6))  # 0 would disarm it

    def enqueue(self, planned: float) -> None:
        """Add a request to the queue."""
        self.tally.requests += 1
        self.unfinished += 1
        self.queue.append(planned)

    def send_waiting(self) -> None:
        """Send waiting requests on idle connections, and reopen lost connections if requests wait for them."""
        while self.queue and self.idle:
            connection = self.idle.pop()
            if not connection.transport.is_closing():
                connection.send(self.queue.popleft(), next(self.requests))
        lost = self.connections - len(self.open) - len(self.opening)
        for _ in range(min(lost, len(self.queue) - len(self.opening))):
            task = asyncio.create_task(self.reopen())
            self.opening.add(task)
            task.add_done_callback(self.on_reopened)

    async def connect(self) -> None:
        """Open a connection.

        Raises:
            OSError: It was refused, or closed at once.
        """
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(lambda: Connection(self), *self.address)
        if transport.is_closing():
            raise ConnectionAbortedError("it was closed at once")
        self.reuse(connection)

    async def reopen(self) -> None:
        """Replace a lost connection. If that fails, a waiting request fails."""
        try:
            await self.connect()
            self.tally.reopened += 1
        except OSError:
            await asyncio.sleep(RECONNECT_PAUSE_S)
            if self.queue:
                self.finish(self.queue.popleft(), "no connection")

    def on_reopened(self, task: asyncio.Task[None]) -> None:
        self.opening.discard(task)
        self.send_waiting()

    def reuse(self, connection: Connection) -> None:
        """Use a connection for the next request."""
        self.idle.append(connection)
        self.send_waiting()

    def finish(self, planned: float, outcome: int | str) -> None:
        """Record the end of a request: its status, or what happened instead. In a closed loop, the next one is due."""
        now = perf_counter()
        self.unfinished -= 1
        if isinstance(outcome, int) and 200 <= outcome < 300:
            self.tally.answered += 1
            self.tally.latencies.append(now - planned)
            self.tally.last_answer = now
        else:
            self.tally.errors[outcome] += 1
        if not self.stopped.is_set():
            if self.closed_loop:
                self.enqueue(now)
        elif not self.unfinished:
            self.finished.set()

    def give_up(self) -> None:
        """Close everything. A request without an answer is an error, and its latency is what it has waited so far."""
        now = perf_counter()
        unanswered = [connection.planned for connection in self.open if connection.planned is not None]
        for planned in (*self.queue, *unanswered):
            self.tally.latencies.append(now - planned)
            self.tally.errors["no answer"] += 1
        self.queue.clear()
        for connection in self.open:
            connection.planned = None
            connection.transport.abort()


def core_seconds() -> float:
    """Return for how many seconds this process has computed, or was ready to while others used its core."""
    try:
        kept_waiting = int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):  # not Linux, or a kernel without this file's counts
        kept_waiting = 0.0
    return process_time() + kept_waiting
