"""Measure what Ray Serve adds to a request: the same app by `digitserve serve` and by deploy/ray/serve_app.py.

    python -m benchmarks.ray_serve [--rounds 3]

Both run with all their processes on core 0; the load has core 1. The CPU time of a request is that of all processes,
such as Ray's proxy, with 16 connections that send as fast as they have answers. The pictures are MNIST's test digits.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from app.cli.bench import parse_count, parse_positive
from benchmarks import process_costs
from benchmarks.pinned_service import LOAD_CORE, pin
from benchmarks.server_process import Server, run_server
from tests.support.ports import free_port
from tests.support.ray_serve import APP_FOLDER, ray_serve_command
from tests.support.running import ROOT, clean_environment

CONNECTIONS = 16
WARM_UP_S = 2.0


def serve_command(folder: Path, port: int) -> list[str]:
    """Return the command of our own server. It needs no files."""
    return [sys.executable, "-m", "app", "serve", "--port", str(port)]


@contextmanager
def run(make_command: Callable[[Path, int], list[str]]) -> Iterator[tuple[Server, int]]:
    """Run a server in a temporary folder until the block ends. Yield it and its port."""
    port = free_port()
    environment = clean_environment(PYTHONPATH=f"{ROOT}:{APP_FOLDER}")

    def try_request() -> str | None:
        try:
            return None if httpx.get(f"http://127.0.0.1:{port}/readyz").is_success else "not ready"
        except httpx.TransportError as error:
            return str(error)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with run_server(make_command(folder, port), folder, environment, folder / "log") as server:
            server.wait_until_ready(try_request)
            yield server, port


def measure(server: Server, port: int, seconds: float) -> tuple[float, float, float]:
    """Return the CPU time of a request in microseconds, requests per second, and the median latency in ms."""
    requests = process_costs.make_predictions(port)
    process_costs.send(port, requests, CONNECTIONS, WARM_UP_S)
    before = server.cpu_seconds()
    result = process_costs.send(port, requests, CONNECTIONS, seconds)
    cost_us = (server.cpu_seconds() - before) / result["answered"] * 1e6
    return cost_us, result["answered_per_second"], result["latency_ms"]["p50"]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ray_serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=parse_count, default=3, help="how often each is measured [%(default)s]")
    parser.add_argument("--seconds", type=parse_positive, default=6.0, help="of each load [%(default)g]")
    arguments = parser.parse_args()
    pin(LOAD_CORE)
    ratios = []
    for _ in range(arguments.rounds):
        costs = []
        for name, make_command in (("serve", serve_command), ("Ray Serve", ray_serve_command)):
            with run(make_command) as (server, port):
                cost_us, rate, latency_ms = measure(server, port, arguments.seconds)
            print(f"{name:10} {cost_us:7,.0f} us of CPU, {rate:6,.0f} requests/s, p50 {latency_ms:.1f} ms", flush=True)
            costs.append(cost_us)
        ratios.append(costs[1] / costs[0])
    print(f"Ray Serve costs {statistics.median(ratios):.1f} times as much")


if __name__ == "__main__":
    main()
