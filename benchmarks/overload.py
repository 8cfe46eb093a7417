"""More requests than the service can answer: how many it answers all the same, and how it treats the others.

    python -m benchmarks.overload [--seconds 60]

Requests come in an open loop, at random and whether or not earlier ones were answered, over thousands of connections;
their latencies count from when they should have started. Beside them somebody asks for health, and another client
looks at what a refusal says. The service runs on one core, all that asks it on the other; so the generator's own limit
is part of what is told.
"""

import argparse
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.schemas import EXAMPLE_IMAGE
from benchmarks.pinned import bench, serving
from benchmarks.startup import resident_megabytes

CONNECTIONS = 4000  # more than may wait, or there would be no overload
SLOW_MS, SLOW_BATCH = "20", "16"  # of the slow engine: a batch takes so long, whatever is in it


@dataclass
class Beside:
    """What clients see that are not part of the load."""

    url: str
    pid: int
    health: float = 0.0  # seconds that health took at most
    unwell: int = 0  # times that it was no 200
    refusals: Counter[str] = field(default_factory=Counter)
    memory: float = 0.0  # MB at most
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Beside":
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._ask_health, self._ask_digit)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def _ask_health(self) -> None:
        while not self._stop.wait(0.5):
            began = time.perf_counter()
            with httpx.Client(timeout=30) as client:  # a new connection each time, as a supervisor has
                self.unwell += client.get(f"{self.url}/readyz").status_code != 200
            self.health = max(self.health, time.perf_counter() - began)
            self.memory = max(self.memory, resident_megabytes(self.pid))

    def _ask_digit(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._stop.wait(0.1):
                answer = client.post(f"{self.url}/predict", json={"image": EXAMPLE_IMAGE})
                if answer.status_code == 503 and not int(answer.headers.get("Retry-After", "0")):
                    self.refusals["503 without Retry-After"] += 1
                self.refusals[str(answer.status_code)] += 1


def overload(url: str, pid: int, rate: float, seconds: float) -> dict[str, Any]:
    """Ask too much, and see."""
    before = resident_megabytes(pid)
    with Beside(url, pid) as beside:
        found = bench(url, "--rate", str(rate), "--connections", str(CONNECTIONS), "--seconds", str(seconds))
    began = time.perf_counter()
    again = httpx.post(f"{url}/predict", json={"image": EXAMPLE_IMAGE}, timeout=30)
    after = time.perf_counter() - began
    return {
        "asked": rate,
        "offered": found["offered_per_second"],
        "answered": found["answered_per_second"],
        "errors": found["errors"],
        "p99": found["latency_ms"].get("p99", 0.0),
        "health": beside.health,
        "unwell": beside.unwell,
        "beside": dict(beside.refusals),
        "memory": (before, beside.memory),
        "after": after if again.status_code == 200 else float("inf"),
    }


def tell(name: str, peak: float, row: dict[str, Any]) -> None:
    errors = ", ".join(f"{what}: {number:,}" for what, number in row["errors"].items())
    before, during = row["memory"]
    print(
        f"{name}: offered {row['offered']:,.0f}/s (asked {row['asked']:,.0f}), answered {row['answered']:,.0f}/s = "
        f"{row['answered'] / peak:.0%} of the peak, p99 {row['p99']:,.0f} ms; not answered: {errors or 'none'}\n"
        f"  beside: {row['beside']}; health within {row['health']:.2f} s, not ready {row['unwell']} times; "
        f"memory {before:.0f} MB, then {during:.0f} at most; a digit right after: {row['after'] * 1e3:.0f} ms",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each row [%(default)g]")
    seconds = parser.parse_args().seconds
    with serving(module="benchmarks.faulty", FAULTY_SLOW_MS=SLOW_MS, DIGITS_BATCH_MAX=SLOW_BATCH) as (url, pid):
        peak = bench(url, "--connections", "64", "--seconds", "10")["answered_per_second"]
        print(f"slow engine, {SLOW_MS} ms for each {SLOW_BATCH} digits: peak {peak:,.0f}/s (64 connections)")
        for factor in (2, 10):
            tell(f"{factor} times that", peak, overload(url, pid, factor * peak, seconds))
    with serving() as (url, pid):
        peak = bench(url, "--connections", "64", "--seconds", "10")["answered_per_second"]
        print(f"released model: peak {peak:,.0f}/s (64 connections)")
        tell("2 times that", peak, overload(url, pid, 2 * peak, seconds))
        tell("all that can be sent", peak, overload(url, pid, 50_000, seconds))


if __name__ == "__main__":
    main()
