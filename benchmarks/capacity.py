"""Size a service: measure what a process can do, check the simulation against it, and compute what a load needs.

    python -m benchmarks.capacity measure
    python -m benchmarks.capacity check
    python -m benchmarks.capacity size --core-price 0.04

`measure` measures one process and writes its costs to benchmarks/capacity.json. `check` compares the simulation of
queue_model.py with one process, and with two behind HAProxy. `size` prints the tables of docs/scaling.md. The services
run on core 0; the load and HAProxy have core 1. `measure` and `check` need MNIST and HAProxy.
"""

import argparse
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from app.cli.bench import parse_count, parse_positive
from app.cli.bench_report import compute_quantiles
from app.cli.load_generator import plan_starts
from benchmarks import process_costs, sizing, startup
from benchmarks.pinned_service import LOAD_CORE, pin, run_service
from benchmarks.process_costs import Costs
from benchmarks.queue_model import Bursts, Cost, Disturbance, Service, simulate

COSTS = Path(__file__).with_suffix(".json")
SHARES = (0.3, 0.6, 0.8, 0.95)  # of the measured capacity
BURST_FACTORS = (1.0, 1.5, 2.0, 3.0)
DRILL_PROCESSES, DRILL_SECONDS, DRILL_AT_S, DRILL_WINDOW_S = 6, 20.0, 10.0, 2.0
NOTICE_S = 2.0  # until the balancer knows that a zone is lost


@contextmanager
def run_services(count: int) -> Iterator[tuple[int, list[int]]]:
    """Run services, all on the same core, and a balancer if there are several. Yield the port and the process ids."""
    with ExitStack() as stack:
        services = [stack.enter_context(run_service()) for _ in range(count)]
        ports = [int(url.rpartition(":")[2]) for url, _ in services]
        port = stack.enter_context(process_costs.run_balancer(ports))[0] if count > 1 else ports[0]
        yield port, [pid for _, pid in services]


def measure(arguments: argparse.Namespace) -> None:
    """Measure one process, print the costs, and write them to a file."""
    with run_services(1) as (port, [pid]):
        predict, points = process_costs.measure_predict_costs(port, pid, arguments.seconds)
        batches = process_costs.make_batch(port)
        batch_us, batch = process_costs.measure_cpu(pid, port, batches, 2, arguments.seconds)
        with process_costs.run_balancer([port]) as (balancer_port, balancer):
            requests = process_costs.make_predictions(port)
            balancer_us, _ = process_costs.measure_cpu(balancer, balancer_port, requests, 64, arguments.seconds)
            batch_balancer_us, _ = process_costs.measure_cpu(balancer, balancer_port, batches, 2, arguments.seconds)
    startup.measure()  # brings the files into the page cache
    start_s, memory_mb = startup.measure()
    bulk_us = process_costs.measure_bulk()
    for connections, mean_batch, cost_us, _ in points:
        print(f"{connections:4} connections: {mean_batch:5.1f} requests at a time, {cost_us:6.1f} us each")
    predictions = points[-1].result
    pictures = process_costs.make_pictures(process_costs.PICTURES)
    costs = Costs(
        **dataclasses.asdict(predict),
        measured=f"{datetime.now(UTC):%Y-%m-%d}",
        request_bytes=predictions["bytes_sent"] / predictions["requests"],
        answer_bytes=predictions["bytes_received"] / predictions["requests"],
        batch_us=batch_us,
        batch_request_bytes=batch["bytes_sent"] / batch["requests"],
        batch_answer_bytes=batch["bytes_received"] / batch["requests"],
        balancer_us=balancer_us,
        batch_balancer_us=batch_balancer_us,
        picture_bytes=sum(map(len, pictures)) / len(pictures),
        bulk_us=bulk_us,
        start_s=start_s,
        memory_mb=memory_mb,
    )
    rounded = {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in dataclasses.asdict(costs).items()
    }
    for name, value in rounded.items():
        print(f"{name:20} {value}")
    arguments.costs.write_text(json.dumps(rounded, indent=2) + "\n")


def check(arguments: argparse.Namespace) -> None:
    """Send requests at shares of the measured capacity, and print the predicted and the measured latencies."""
    print(f"load average {os.getloadavg()[0]:.1f}; on a busy machine the ratios are worthless")
    cost = None
    for count in (1, 2):
        with run_services(count) as (port, pids):
            if cost is None:
                costs, _ = process_costs.measure_predict_costs(port, pids[0], arguments.seconds)
                cost = costs.cost
                print(", ".join(f"{name} {value:.3g}" for name, value in dataclasses.asdict(costs).items()))
            requests = process_costs.make_predictions(port)
            capacity = process_costs.send(port, requests, 64, arguments.seconds)["answered_per_second"]
            print(f"{count} on one core: {capacity:,.0f} requests per second")
            print("  share      rate   p50 predicted, measured, ratio   p99 predicted, measured, ratio   (ms)")
            for share in SHARES:
                rate = share * capacity
                measured = process_costs.send(port, requests, 256, arguments.seconds, rate)["latency_ms"]
                starts = plan_starts(rate, arguments.seconds, even=False)
                tally = Service(cost, count, cores=1).run(starts, arguments.seconds)
                predicted = compute_quantiles(tally.latencies())
                figures = "   ".join(
                    f"{predicted[name]:13.2f} {measured[name]:9.2f} {measured[name] / predicted[name]:6.2f}"
                    for name in ("p50", "p99")
                )
                print(f"{share:7.0%} {rate:9,.0f}   {figures}", flush=True)


def size(arguments: argparse.Namespace) -> None:
    """Print the tables of docs/scaling.md."""
    costs = Costs(**json.loads(arguments.costs.read_text()))
    bursts = Bursts(arguments.burst_factor, mean_s=arguments.burst_s)
    site = sizing.Site(arguments.machine_cores, arguments.core_price)
    predict, batch = sizing.predict_kind(costs), sizing.batch_kind(costs)
    print(f"a process answers {predict.cost.capacity:,.0f} /predict per second, or {batch.cost.capacity:.1f} batches.")
    print(f"it needs {costs.memory_mb:.0f} MB, and answers {costs.start_s:.1f} s after its start")
    print("\n| rate in a burst, in mean rates | a process may be busy |\n| --- | --- |")
    limits = {
        factor: sizing.find_limit(predict.cost, 1, dataclasses.replace(bursts, factor=factor))
        for factor in sorted({*BURST_FACTORS, bursts.factor})
    }
    for factor, limit in limits.items():
        print(f"| {factor:g} | {limit} % |")
    limit = limits[bursts.factor]
    batch_limits = {count: sizing.find_limit(batch.cost, count, bursts) for count in sizing.SIMULATED_PROCESSES}
    print("\n| processes that answer batches | may be busy |\n| --- | --- |")
    for count, share in batch_limits.items():
        print(f"| {count} | {share} % |")
    print("\n| digits/s | sent as | processes | machines | balancers | Gbit/s in/out | per month |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in list_sizes(costs, site, limit, batch_limits):
        print(f"| {' | '.join(row)} |")
    drill(predict.cost, limit, bursts, costs.start_s)


def list_sizes(costs: Costs, site: sizing.Site, limit: int, batch_limits: Mapping[int, int]) -> Iterator[list[str]]:
    """Yield the rows of the table of sizes. The limits are the load in percent that processes may have."""
    predict, batch = sizing.predict_kind(costs), sizing.batch_kind(costs)
    for rate in sizing.RATES:
        for name, result in (
            ("`/predict`", sizing.size_service(predict, rate, site, {1: limit}, limit)),
            ("`/v2`", sizing.size_service(batch, rate, site, batch_limits, limit)),
            ("`bulk`", sizing.size_bulk(costs, rate, site)),
        ):
            counts = [f"{count:,}" for count in (result.processes, result.machines, result.balancer_cores)]
            network = f"{result.gigabits_in:.2g}/{result.gigabits_out:.2g}"
            yield [f"{rate:,}", name, *counts, network, f"{result.monthly_price:,.0f}"]


def drill(cost: Cost, limit: int, bursts: Bursts, start_s: float) -> None:
    """Simulate failures and a roll-out, at the load that the remaining processes are sized for."""
    disturbances: dict[str, Disturbance | None] = {
        "nothing": None,
        "a process fails": lambda service: service.fail(service.processes[:1], DRILL_AT_S),
        "a zone fails": lambda service: service.fail(service.processes[:: sizing.ZONES], DRILL_AT_S, NOTICE_S),
        "all are replaced, one after the other": lambda service: service.roll_out(DRILL_AT_S, start_s),
    }
    rate = limit / 100 * cost.capacity * DRILL_PROCESSES * (sizing.ZONES - 1) / sizing.ZONES
    print(f"\n{DRILL_PROCESSES} processes, {rate:,.0f} requests per second\n")
    print(f"| what happens | lost | p99 in the next {DRILL_WINDOW_S:g} s, ms | p99 overall, ms |")
    print("| --- | --- | --- | --- |")
    for name, disturbance in disturbances.items():
        tally = simulate(cost, DRILL_PROCESSES, rate, DRILL_SECONDS, bursts=bursts, disturbance=disturbance)
        window = compute_quantiles(tally.latencies(DRILL_AT_S, DRILL_AT_S + DRILL_WINDOW_S))["p99"]
        print(f"| {name} | {tally.lost:,} | {window:.1f} | {compute_quantiles(tally.latencies())['p99']:.1f} |")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command, function in (("measure", measure), ("check", check), ("size", size)):
        added = commands.add_parser(command, help=(function.__doc__ or "").strip(), description=function.__doc__)
        added.set_defaults(run=function)
        add = added.add_argument
        if command != "check":
            add(
                "--costs", type=Path, default=COSTS, metavar="FILE", help=f"what was measured [benchmarks/{COSTS.name}]"
            )
        if command != "size":
            add("--seconds", type=parse_positive, default=4.0, help="duration of each load [%(default)g]")
    add = commands.choices["size"].add_argument
    add("--core-price", type=parse_positive, default=0.04, metavar="N", help="of a core for an hour [%(default)g]")
    add("--machine-cores", type=parse_count, default=15, metavar="N", help="of a machine, for services [%(default)d]")
    add("--burst-factor", type=parse_positive, default=2.0, metavar="N", help="a burst in mean rates [%(default)g]")
    add("--burst-s", type=parse_positive, default=1.0, metavar="N", help="mean duration of a burst [%(default)g]")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    parser = make_parser()
    arguments = parser.parse_args(words)
    if arguments.command != "size":
        pin(LOAD_CORE)
    try:
        arguments.run(arguments)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
