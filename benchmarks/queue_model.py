"""A discrete-event simulation of digitserve: processes behind a balancer, requests, failures and roll-outs.

A process answers together what arrived together. An iteration of its event loop takes what waits, n requests, for
``fixed_s + n * turn_s`` seconds. Those that come meanwhile wait for the next iteration. A small request is answered
after one turn. If its digit is doubtful, a later iteration reads it again with the careful network. A batch of 1,000
digits is read in slices: it needs a turn per slice, and other requests have their turns in between.

The balancer sends a request to the process with the fewest unanswered requests. No request is refused or sent twice.
"""

import itertools
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from random import Random
from typing import Any

import simpy

from app.inference.scheduler import CAREFUL_SLICE_IN_LOOP

Steps = Generator[simpy.Event, Any, None]  # what SimPy runs: each event is something to wait for


@dataclass(frozen=True)
class Cost:
    """What a request costs the process that answers it, in seconds of a core."""

    fixed_s: float  # an iteration
    turn_s: float  # a turn of a request in it
    turns: int = 1  # that a request needs
    doubtful: float = 0.0  # share of the requests that are read again after their turns
    careful_s: float = 0.0  # to read one again
    wake_s: float = 0.0  # until an idle process starts

    @property
    def capacity(self) -> float:
        """The requests per second that a process answers when many wait."""
        return 1 / (self.turn_s * self.turns + self.doubtful * self.careful_s)


@dataclass(frozen=True)
class Bursts:
    """How uneven the arrivals are: a Poisson process whose rate jumps up and down at random times.

    Raises:
        ValueError: The bursts alone have more requests than the mean rate allows.
    """

    factor: float = 1.0  # the rate in a burst, in mean rates
    share: float = 0.1  # of the time that has a burst
    mean_s: float = 1.0  # duration of a burst, exponentially distributed

    def __post_init__(self) -> None:
        if self.factor * self.share > 1:
            raise ValueError(f"a burst of {self.factor:g} mean rates cannot last for {self.share:.0%} of the time")

    def arrivals(self, rate: float, random: Random) -> Iterator[float]:
        """Return the times of arrivals, in seconds, with a mean rate per second."""
        quiet_rate = rate * (1 - self.factor * self.share) / (1 - self.share)
        phases = itertools.cycle(
            ((quiet_rate, self.mean_s * (1 - self.share) / self.share), (rate * self.factor, self.mean_s))
        )
        end = 0.0
        for phase_rate, mean_s in phases:
            now, end = end, end + random.expovariate(1 / mean_s)
            while phase_rate and (now := now + random.expovariate(phase_rate)) < end:
                yield now


STEADY = Bursts()


@dataclass(slots=True)
class Request:
    """A request that waits for turns."""

    arrived: float  # when
    turns: int  # that it still needs


@dataclass
class Tally:
    """What happened to the requests."""

    sent: int = 0
    lost: int = 0  # by processes that failed
    answers: list[tuple[float, float]] = field(default_factory=list)  # when a request arrived, and how long it took

    def latencies(self, start: float = 0.0, end: float = float("inf")) -> list[float]:
        """Return how many seconds the requests took that arrived in a period."""
        return [seconds for arrived, seconds in self.answers if start <= arrived < end]


class Process:
    """A process of the service. Without ``core``, which it shares with others, it has a core of its own."""

    def __init__(self, environment: simpy.Environment, cost: Cost, core: simpy.Resource | None, tally: Tally) -> None:
        self.unanswered = 0
        self.failed = False
        self._environment, self._cost, self._core, self._tally = environment, cost, core, tally
        self._waiting: list[Request] = []
        self._doubtful: list[Request] = []
        self._random = Random(0)
        self._work = environment.event()
        environment.process(self._serve())

    def receive(self) -> None:
        """Accept a request. If the process has failed, the request is lost, but its sender does not know."""
        self.unanswered += 1
        if self.failed:
            self._tally.lost += 1
            return
        self._waiting.append(Request(self._environment.now, self._cost.turns))
        if not self._work.triggered:
            self._work.succeed()

    def fail(self) -> None:
        """Lose all requests that are not answered."""
        self.failed = True
        self._tally.lost += self.unanswered

    def _serve(self) -> Steps:
        while True:
            if not self._work.triggered:
                yield self._work
                yield self._environment.timeout(self._cost.wake_s)
            use = self._core.request() if self._core else None
            if use:
                yield use
            cost = self._cost
            batch, self._waiting = self._waiting, []
            again, self._doubtful = self._doubtful[:CAREFUL_SLICE_IN_LOOP], self._doubtful[CAREFUL_SLICE_IN_LOOP:]
            yield self._environment.timeout(cost.fixed_s + cost.turn_s * len(batch) + cost.careful_s * len(again))
            if use and self._core:
                self._core.release(use)
            if self.failed:
                return
            for request in batch:
                request.turns -= 1
                if request.turns:
                    self._waiting.append(request)
                elif self._random.random() < cost.doubtful:
                    self._doubtful.append(request)
                else:
                    self._answer(request)
            for request in again:
                self._answer(request)
            if not self._waiting and not self._doubtful:
                self._work = self._environment.event()

    def _answer(self, request: Request) -> None:
        self.unanswered -= 1
        self._tally.answers.append((request.arrived, self._environment.now - request.arrived))


class Service:
    """Processes behind a balancer.

    Args:
        processes: How many there are.
        cores: How many cores they share. None gives each its own.
    """

    def __init__(self, cost: Cost, processes: int, cores: int | None = None) -> None:
        self.environment = simpy.Environment()
        self.tally = Tally()
        self._cost = cost
        shared = simpy.Resource(self.environment, cores) if cores else None
        self.processes = [self._start(shared) for _ in range(processes)]
        self.balanced = list(self.processes)  # those that get requests; among equals, the first one is next

    def _start(self, core: simpy.Resource | None = None) -> Process:
        return Process(self.environment, self._cost, core, self.tally)

    def send(self) -> None:
        """Send a request to the process with the fewest unanswered ones. It is lost if there is no process."""
        self.tally.sent += 1
        if not self.balanced:
            self.tally.lost += 1
            return
        process = min(self.balanced, key=attrgetter("unanswered"))
        self.balanced.remove(process)
        self.balanced.append(process)
        process.receive()

    def fail(self, processes: list[Process], at: float, notice_s: float = 0.0) -> Steps:
        """Let processes fail. ``notice_s`` later the balancer sends them no more requests."""
        yield self.environment.timeout(at)
        for process in processes:
            process.fail()
        yield self.environment.timeout(notice_s)
        self.balanced = [process for process in self.balanced if process not in processes]

    def roll_out(self, at: float, start_s: float) -> Steps:
        """Replace each process in turn: it finishes what it has, and its successor is ready ``start_s`` later."""
        yield self.environment.timeout(at)
        for old in list(self.balanced):
            self.balanced.remove(old)
            while old.unanswered:
                yield self.environment.timeout(self._cost.turn_s)
            yield self.environment.timeout(start_s)
            self.balanced.append(self._start())

    def run(self, arrivals: Iterator[float], seconds: float) -> Tally:
        """Send requests for some seconds, and wait for the answers."""

        def send_all() -> Steps:
            for arrival in itertools.takewhile(lambda time: time < seconds, arrivals):
                yield self.environment.timeout(max(arrival - self.environment.now, 0.0))  # times are rounded
                self.send()

        self.environment.process(send_all())
        self.environment.run()
        return self.tally


Disturbance = Callable[[Service], Steps]


def simulate(
    cost: Cost,
    processes: int,
    rate: float,
    seconds: float,
    *,
    bursts: Bursts = STEADY,
    disturbance: Disturbance | None = None,
) -> Tally:
    """Simulate a service that gets ``rate`` requests per second. The same arguments give the same result."""
    service = Service(cost, processes)
    if disturbance:
        service.environment.process(disturbance(service))
    return service.run(bursts.arrivals(rate, Random(0)), seconds)
