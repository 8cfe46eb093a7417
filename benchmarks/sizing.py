"""Computes how many processes, machines and balancers a load needs, from measured costs and a simulation.

Services are sized so that 99 % of the requests are answered within ``LIMIT_S`` with one zone of three lost. How busy
the remaining processes may be, in percent of what they can answer, comes from simulations with bursts. A bulk job has
no limit of time: with fewer machines it takes longer.
"""

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass

from app.cli.bench_report import compute_quantiles
from app.inference.scheduler import SLICE
from benchmarks.process_costs import BATCH_DIGITS, Costs
from benchmarks.queue_model import Bursts, Cost, simulate

LIMIT_S = 0.05
ZONES = 3
RATES = (1_000, 10_000, 100_000, 1_000_000)  # digits per second
HOURS_PER_MONTH = 730
SIMULATED_REQUESTS = 200_000  # in each simulation
SIMULATED_PROCESSES = (2, 8, 32)  # that answer batches; with more, an idle one is found more often


@dataclass(frozen=True)
class Site:
    """Where the service runs."""

    machine_cores: int  # of a machine, without one for the system
    core_price: float  # per hour


@dataclass(frozen=True)
class Kind:
    """A way of sending digits."""

    name: str
    digits: int  # in a request
    cost: Cost
    balancer_s: float  # CPU time of a balancer for a request
    bytes_in: float  # of a request
    bytes_out: float  # of its answer


@dataclass(frozen=True)
class Size:
    """What a load needs."""

    processes: int
    machines: int
    balancer_cores: int
    gigabits_in: float  # per second
    gigabits_out: float
    monthly_price: float


def predict_kind(costs: Costs) -> Kind:
    """Describe /predict."""
    return Kind("/predict", 1, costs.cost, costs.balancer_us / 1e6, costs.request_bytes, costs.answer_bytes)


def batch_kind(costs: Costs) -> Kind:
    """Describe /v2 with ``BATCH_DIGITS`` in a request."""
    turns = math.ceil(BATCH_DIGITS / SLICE)
    cost = Cost(0.0, costs.batch_us / turns / 1e6, turns)
    bytes_in, bytes_out = costs.batch_request_bytes, costs.batch_answer_bytes
    return Kind("/v2", BATCH_DIGITS, cost, costs.batch_balancer_us / 1e6, bytes_in, bytes_out)


def is_fast_enough(cost: Cost, processes: int, percent: int, bursts: Bursts, requests: int) -> bool:
    """Simulate a load in percent of what processes can answer. Check that 99 % are answered within ``LIMIT_S``."""
    rate = percent / 100 * processes * cost.capacity
    tally = simulate(cost, processes, rate, requests / cost.turns / rate, bursts=bursts)
    return compute_quantiles(tally.latencies())["p99"] <= LIMIT_S * 1e3


def find_limit(cost: Cost, processes: int, bursts: Bursts, requests: int = SIMULATED_REQUESTS) -> int:
    """Return how busy processes may be: the highest load in percent at which they are fast enough."""
    loads = range(1, 100)
    return bisect.bisect_left(
        loads, True, key=lambda percent: not is_fast_enough(cost, processes, percent, bursts, requests)
    )


def count_processes(kind: Kind, requests: float, limits: Mapping[int, int]) -> int:
    """Return how many processes answer ``requests`` per second although one zone is lost.

    Raises:
        ValueError: They cannot be fast enough, however many they are.
    """
    if not any(limits.values()):
        raise ValueError(f"a request to {kind.name} alone takes longer than {LIMIT_S * 1e3:g} ms")

    def answered(processes: int) -> float:
        percent = max(limit for count, limit in limits.items() if count <= processes)
        return percent / 100 * processes * kind.cost.capacity

    remaining = min(limits)
    while answered(remaining) < requests:
        remaining += 1
    return ZONES * math.ceil(remaining / (ZONES - 1))


def size_service(kind: Kind, digits: float, site: Site, limits: Mapping[int, int], balancer_limit: int) -> Size:
    """Size a service for ``digits`` per second. A balancer may be busy for ``balancer_limit`` percent of the time."""
    requests = digits / kind.digits
    processes = count_processes(kind, requests, limits)
    balancer_cores = ZONES * math.ceil(requests * kind.balancer_s * 100 / balancer_limit / (ZONES - 1))
    machines = ZONES * math.ceil(processes / ZONES / site.machine_cores)
    return make_size(processes, machines, balancer_cores, requests * kind.bytes_in, requests * kind.bytes_out, site)


def size_bulk(costs: Costs, digits: float, site: Site) -> Size:
    """Size a Ray cluster that reads ``digits`` per second with ``digitserve bulk`` while all its machines live."""
    processes = math.ceil(digits * costs.bulk_us / 1e6)
    machines = math.ceil(processes / site.machine_cores)
    return make_size(processes, machines, 0, digits * costs.picture_bytes, 0.0, site)


def make_size(
    processes: int, machines: int, balancer_cores: int, bytes_in: float, bytes_out: float, site: Site
) -> Size:
    """Add the network and the price. Each machine pays for one core more, which the system has."""
    cores = processes + machines + balancer_cores
    monthly_price = cores * site.core_price * HOURS_PER_MONTH
    return Size(processes, machines, balancer_cores, 8 * bytes_in / 1e9, 8 * bytes_out / 1e9, monthly_price)
