"""The simulation of queue_model.py agrees with what can be computed, and accounts for every request."""

import itertools
import math
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest

from benchmarks.queue_model import Bursts, Cost, Service, Steps, simulate

COST = Cost(fixed_s=0.0002, turn_s=0.00015)


def evenly(rate: float) -> Iterator[float]:
    """Arrivals at equal distances."""
    return (number / rate for number in itertools.count(1))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_the_share_that_finds_a_process_idle(load: float) -> None:
    """If iterations cost nothing, a process is idle for 1 - load of the time, and as many requests never wait.

    This holds for each order of service, because Poisson arrivals see time averages.
    """
    cost = Cost(0.0, 0.001)
    tally = simulate(cost, 1, load * cost.capacity, 100)
    immediate = np.isclose(tally.latencies(), cost.turn_s).mean()
    assert immediate == pytest.approx(1 - load, abs=0.03)


@pytest.mark.parametrize("load", [0.5, 0.8, 0.95])
def test_batches_grow_until_they_keep_up(load: float) -> None:
    """With even arrivals, an iteration answers what arrived in the one before: n = rate * (fixed + n * turn).

    A request waits for half of an iteration on average, and then for a whole one.
    """
    rate = load / COST.turn_s
    iteration = COST.fixed_s / (1 - load)
    latencies = Service(COST, 1).run(evenly(rate), 3).latencies(start=1)
    # A batch has a whole number of requests, so an iteration differs from the mean by up to a turn.
    assert np.mean(latencies) == pytest.approx(1.5 * iteration, abs=1.5 * COST.turn_s)


@pytest.mark.parametrize(("processes", "cores"), [(1, None), (4, None), (4, 1), (4, 2)])
def test_throughput_at_saturation(processes: int, cores: int | None) -> None:
    """Under overload, each core answers one request per turn, because the fixed cost is shared by a large batch."""
    offered = 2 * processes * COST.capacity
    service = Service(COST, processes, cores)
    service.run(evenly(offered), 1)
    assert service.tally.sent / service.environment.now == pytest.approx((cores or processes) * COST.capacity, rel=0.02)


def test_the_balancer_spreads_the_load() -> None:
    """Each of five processes gets a fifth of the requests, and none waits if there are enough processes."""
    service = Service(COST, 5)
    tally = service.run(evenly(4 / (COST.fixed_s + COST.turn_s)), 1)
    assert max(tally.latencies()) == pytest.approx(COST.fixed_s + COST.turn_s)


def test_a_batch_takes_turns() -> None:
    """A batch of 16 slices takes 16 turns alone. Two at the same time take twice as long, because they alternate."""
    cost = Cost(0.0, 0.002, turns=16)
    alone = Service(cost, 1).run(iter([0.5]), 1).latencies()
    together = Service(cost, 1).run(iter([0.5, 0.5]), 1).latencies()
    assert alone == pytest.approx([0.032])
    assert together == pytest.approx([0.062, 0.064], abs=0.0021)


def test_an_idle_process_has_to_wake() -> None:
    """A request waits for that. One that arrives while the process works does not."""
    tally = Service(Cost(0.0, 0.001, wake_s=0.0005), 1).run(iter([0.5, 0.501]), 1)
    assert tally.latencies() == pytest.approx([0.0015, 0.0015])


def test_doubtful_digits_are_read_again() -> None:
    """They take the careful network's time, in an iteration of its own, and lower the capacity by as much."""
    cost = Cost(0.0, 0.001, doubtful=0.25, careful_s=0.004)
    rate = 0.2 * cost.capacity
    latencies = np.array(Service(cost, 1).run(evenly(rate), 100).latencies())
    assert cost.capacity == pytest.approx(500)
    assert (latencies > 0.0045).mean() == pytest.approx(0.25, abs=0.02)
    assert min(latencies) == pytest.approx(0.001)


@pytest.mark.parametrize("factor", [1.0, 1.5, 3.0])
def test_bursts_keep_the_mean_rate(factor: float) -> None:
    """Over many bursts the rate is the mean rate, and for a tenth of the time it is the factor times that."""
    seconds, window_s = 2_000, 0.05
    arrivals = itertools.takewhile(lambda time: time < seconds, Bursts(factor, 0.1, 1.0).arrivals(200, Random(1)))
    counts, _ = np.histogram(list(arrivals), bins=round(seconds / window_s), range=(0, seconds))
    assert counts.mean() == pytest.approx(200 * window_s, rel=0.05)
    # The variance of counts in windows: Poisson noise, and that of a rate which has two values.
    quiet = (1 - factor * 0.1) / 0.9
    variance = 10 + 100 * (0.1 * (factor - 1) ** 2 + 0.9 * (quiet - 1) ** 2)
    assert counts.var() == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize("utilisation", [0.3, 0.8])
def test_a_rollout_that_drains_loses_nothing(utilisation: float) -> None:
    """Every request is answered while all processes are replaced, and no old process is left."""
    replaced: list[bool] = []

    def roll_out(service: Service) -> Steps:
        old = set(service.processes)
        yield from service.roll_out(at=0.5, start_s=0.2)
        replaced.append(len(service.balanced) == 4 and not old.intersection(service.balanced))

    tally = simulate(COST, 4, utilisation * 3 * COST.capacity, 2, disturbance=roll_out)
    assert tally.lost == 0
    assert len(tally.answers) == tally.sent
    assert replaced == [True]


@pytest.mark.parametrize("notice_s", [0.0, 0.5])
def test_a_failure_loses_what_the_processes_have(notice_s: float) -> None:
    """Each request is answered or lost. Once the balancer knows of the failure, no more are lost."""
    tally = simulate(
        COST, 6, 2 * COST.capacity, 3, disturbance=lambda service: service.fail(service.processes[::3], 1.0, notice_s)
    )
    assert tally.lost > 0
    assert len(tally.answers) + tally.lost == tally.sent
    arrived = np.histogram([arrived for arrived, _ in tally.answers], bins=[1.6, 3])[0].sum()
    assert arrived == pytest.approx(1.4 * 2 * COST.capacity, rel=0.05)


def test_impossible_bursts_are_refused() -> None:
    """Bursts of eleven times the mean rate for a tenth of the time would exceed the mean rate."""
    with pytest.raises(ValueError, match="cannot last for 10% of the time"):
        Bursts(11.0)


def test_without_processes_all_requests_are_lost() -> None:
    """If everything fails, the balancer has nowhere to send requests."""
    tally = simulate(COST, 2, 100, 2, disturbance=lambda service: service.fail(service.processes, 1.0))
    assert tally.lost == pytest.approx(100, abs=30)
    assert len(tally.answers) + tally.lost == tally.sent
    assert math.isfinite(max(tally.latencies()))
