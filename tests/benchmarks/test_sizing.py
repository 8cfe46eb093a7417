"""Sizes grow with the load, survive the loss of a zone, and are what docs/scaling.md says."""

import dataclasses
import itertools
import json
import re
import shlex
import subprocess
import sys

import pytest

from app.cli.parser import make_parser
from benchmarks import capacity, process_costs, sizing
from benchmarks.load import multipart_post
from benchmarks.process_costs import Costs, Point
from benchmarks.queue_model import STEADY, Bursts, Cost
from tests.support.proxies import find_command
from tests.support.running import ROOT, Server

PAGE = (ROOT / "docs" / "scaling.md").read_text()
COSTS = Costs(**json.loads(capacity.COSTS.read_text()))
SITE = sizing.Site(machine_cores=15, core_price=0.04)
KINDS = [sizing.predict_kind(COSTS), sizing.batch_kind(COSTS)]
LIMITS = {1: 20, 8: 40}
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@each_kind
def test_a_larger_load_never_needs_less(kind: sizing.Kind) -> None:
    """Processes, machines, balancers, network and price grow with the load, or stay."""
    sizes = [sizing.size_service(kind, 1.3**power, SITE, LIMITS, 50) for power in range(20, 55)]
    for smaller, larger in itertools.pairwise(sizes):
        assert all(before <= after for before, after in zip(*map(dataclasses.astuple, (smaller, larger)), strict=True))
    assert sizes[-1].processes > 50 * sizes[0].processes


@each_kind
@pytest.mark.parametrize("rate", sizing.RATES)
def test_two_zones_carry_the_load(kind: sizing.Kind, rate: int) -> None:
    """Without a third of the processes, the others are no busier than the limit, and with one less in each they are."""
    size = sizing.size_service(kind, rate, SITE, {1: 40}, 50)
    requests, per_process = rate / kind.digits, kind.cost.capacity * 0.4
    assert size.processes % 3 == 0
    assert size.processes * 2 / 3 * per_process >= requests
    assert (size.processes * 2 / 3 - 2) * per_process < requests
    assert size.machines * 15 >= size.processes


def test_bulk_work_grows_in_proportion() -> None:
    """Ten times as many pictures need ten times as many engines."""
    small, large = (sizing.size_bulk(COSTS, rate, SITE) for rate in (100_000, 1_000_000))
    assert large.processes == pytest.approx(10 * small.processes, rel=0.1)
    assert small.processes == pytest.approx(100_000 * COSTS.bulk_us / 1e6, abs=1)


def test_bursts_need_idle_processes() -> None:
    """The more uneven the load, the less busy a process may be: about the mean rate divided by that of a burst."""
    cost = Cost(0.0002, 0.002)
    limits = {factor: sizing.find_limit(cost, 1, Bursts(factor), requests=20_000) for factor in (1.5, 3.0)}
    steady = sizing.find_limit(cost, 1, STEADY, requests=20_000)
    assert steady > limits[1.5] > limits[3.0]
    for factor, limit in limits.items():
        assert limit == pytest.approx(100 / factor, rel=0.2)


def test_a_request_that_is_too_slow_alone_cannot_be_sized() -> None:
    """No number of processes makes it faster."""
    slow = dataclasses.replace(KINDS[1], cost=Cost(0.0, 0.01, turns=16))
    assert sizing.find_limit(slow.cost, 2, STEADY, requests=1_000) == 0
    with pytest.raises(ValueError, match="takes longer than 50 ms"):
        sizing.count_processes(slow, 1, {2: 0})


def test_costs_are_fitted() -> None:
    """Points on the curve of known costs give these costs back."""
    points = [Point(0, mean_batch, 150 + 200 / mean_batch, {}) for mean_batch in (1.0, 3.8, 14.2, 51.0)]
    assert process_costs.fit_costs(points) == pytest.approx((200, 150))


def test_the_costs_of_the_simulation_are_those_measured() -> None:
    """A request costs what it costs on average, with the careful network's part."""
    cost = COSTS.cost
    assert 1 / cost.capacity == pytest.approx(COSTS.request_us / 1e6)
    assert cost.doubtful * cost.careful_s * 1e6 < COSTS.request_us / 5


@pytest.mark.skipif(find_command("haproxy") is None, reason="haproxy is not installed")
def test_the_cost_of_a_real_request(server: Server) -> None:
    """A real service and a real balancer use CPU time for each request, and all are answered."""
    picture = (ROOT / "docs" / "examples" / "digits" / "7.png").read_bytes()
    with process_costs.run_balancer([server.port]) as (port, pid):
        request = multipart_post("/predict", "file", [picture]).encode(port)
        before = process_costs.count_batches(server.port)
        service_before = process_costs.cpu_seconds(server.pid)
        cost_us, result = process_costs.measure_cpu(pid, port, [request], 4, seconds=1.0)
        service_us = (process_costs.cpu_seconds(server.pid) - service_before) / result["answered"] * 1e6
    assert not result["errors"]
    assert 0 < cost_us < service_us
    assert process_costs.count_batches(server.port)[1] - before[1] == result["answered"]


def read_table(heading: str) -> list[list[str]]:
    """Return the cells of the tables of the page whose headings begin with ``heading``, without the headings."""
    tables = re.findall(rf"^\| {re.escape(heading)}.*\n\|[- |]*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert tables, heading
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in "".join(tables).splitlines()]


def read_limit() -> int:
    """Return how busy a process may be with bursts of the double rate, in percent."""
    return int(dict(read_table("rate in a burst"))["2"].removesuffix(" %"))


def test_the_page_has_the_sizes_that_the_program_computes() -> None:
    """The table of sizes in docs/scaling.md follows from the measured costs and the limits on the same page."""
    limits = {int(count): int(limit.removesuffix(" %")) for count, limit in read_table("processes that answer batches")}
    sizes = capacity.list_sizes(COSTS, SITE, read_limit(), limits)
    assert sorted(sizes) == sorted(read_table("digits/s | sent as"))


@pytest.mark.slow
def test_the_page_has_the_limits_that_the_simulation_finds() -> None:
    """The limit with bursts of the double rate, which decides all sizes, is found again."""
    assert sizing.find_limit(KINDS[0].cost, 1, Bursts(2.0)) == read_limit()


def test_the_commands_of_the_page_parse() -> None:
    """Each command of digitserve and of the benchmark is accepted by its parser."""
    parser, _ = make_parser("digitserve")
    lines = re.findall(r"^\.venv/bin/digitserve (.*)", PAGE, re.MULTILINE)
    assert {parser.parse_args(shlex.split(line)).command for line in lines} == {"serve", "bench", "bulk"}
    lines = re.findall(r"python -m benchmarks\.capacity ([^`\n]*)", PAGE)
    commands = {capacity.make_parser().parse_args(shlex.split(line)).command for line in lines}
    assert commands == {"measure", "check", "size"}


def test_the_program_prints_its_help() -> None:
    """It starts, and names its three commands."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.capacity", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert all(name in done.stdout for name in ("measure", "check", "size"))
