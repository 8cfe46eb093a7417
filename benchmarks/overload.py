"""Send more requests than the service can answer: how many it still answers, and how it treats other clients.

    python -m benchmarks.overload [--seconds 60]

Requests arrive at random times in an open loop, whether or not earlier ones are answered, over thousands of
connections. Latency counts from when a request should have started. Meanwhile one client asks for health, and another
checks the refusals. The service runs on one core, all clients on the other, so the limit of the load generator is part
of the result.
"""

import argparse
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from app.http.schemas import EXAMPLE_IMAGE
from benchmarks.pinned_service import run_bench, run_service
from benchmarks.startup import resident_megabytes

CONNECTIONS = 4000  # more than the requests that may wait, or there would be no overload
SLOW_MS, SLOW_BATCH = "20", "16"  # the slow engine takes this long for each batch, and batches hold this many pictures


@dataclass
class Observer:
    """Two clients that are not part of the load, and what they see."""

    url: str
    pid: int
    max_health_s: float = 0.0  # slowest answer about health
    not_ready: int = 0  # answers about health other than 200
    statuses: Counter[str] = field(default_factory=Counter)  # of /predict
    max_memory_mb: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Observer":
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._watch_health, self._send_digits)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def _watch_health(self) -> None:
        while not self._stop.wait(0.5):
            started = time.perf_counter()
            with httpx.Client(timeout=30) as client:  # a new connection each time, like a supervisor
                self.not_ready += client.get(f"{self.url}/readyz").status_code != 200
            self.max_health_s = max(self.max_health_s, time.perf_counter() - started)
            self.max_memory_mb = max(self.max_memory_mb, resident_megabytes(self.pid))

    def _send_digits(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._stop.wait(0.1):
                answer = client.post(f"{self.url}/predict", json={"image": EXAMPLE_IMAGE})
                if answer.status_code == 503 and not int(answer.headers.get("Retry-After", "0")):
                    self.statuses["503 without Retry-After"] += 1
                self.statuses[str(answer.status_code)] += 1


def overload(url: str, pid: int, rate: float, seconds: float) -> dict[str, Any]:
    """Send requests at a rate that is too high, and return what was measured."""
    memory_before = resident_megabytes(pid)
    with Observer(url, pid) as observer:
        result = run_bench(url, "--rate", str(rate), "--connections", str(CONNECTIONS), "--seconds", str(seconds))
    started = time.perf_counter()
    answer = httpx.post(f"{url}/predict", json={"image": EXAMPLE_IMAGE}, timeout=30)
    seconds_after = time.perf_counter() - started
    return {
        "wanted": rate,
        "offered": result["offered_per_second"],
        "answered": result["answered_per_second"],
        "errors": result["errors"],
        "p99": result["latency_ms"].get("p99", 0.0),
        "health": observer.max_health_s,
        "not_ready": observer.not_ready,
        "statuses": dict(observer.statuses),
        "memory": (memory_before, observer.max_memory_mb),
        "after": seconds_after if answer.status_code == 200 else float("inf"),
    }


def print_row(name: str, peak: float, row: dict[str, Any]) -> None:
    """Print one measurement, compared with the peak rate."""
    errors = ", ".join(f"{kind}: {number:,}" for kind, number in row["errors"].items())
    before, during = row["memory"]
    print(
        f"{name}: offered {row['offered']:,.0f}/s (wanted {row['wanted']:,.0f}), answered {row['answered']:,.0f}/s = "
        f"{row['answered'] / peak:.0%} of the peak, p99 {row['p99']:,.0f} ms; not answered: {errors or 'none'}\n"
        f"  other clients: {row['statuses']}; health within {row['health']:.2f} s, not ready {row['not_ready']} times; "
        f"memory {before:.0f} MB before, {during:.0f} MB peak; a digit right after: {row['after'] * 1e3:.0f} ms",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overload", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of each row [%(default)g]")
    seconds = parser.parse_args().seconds
    with run_service(module="benchmarks.faulty_server", FAULTY_SLOW_MS=SLOW_MS, DIGITS_BATCH_MAX=SLOW_BATCH) as (
        url,
        pid,
    ):
        peak = run_bench(url, "--connections", "64", "--seconds", "10")["answered_per_second"]
        print(f"slow engine, {SLOW_MS} ms per batch of {SLOW_BATCH}: peak {peak:,.0f}/s (64 connections)")
        for factor in (2, 10):
            print_row(f"{factor} times the peak", peak, overload(url, pid, factor * peak, seconds))
    with run_service() as (url, pid):
        peak = run_bench(url, "--connections", "64", "--seconds", "10")["answered_per_second"]
        print(f"released model: peak {peak:,.0f}/s (64 connections)")
        print_row("2 times the peak", peak, overload(url, pid, 2 * peak, seconds))
        print_row("as much as can be sent", peak, overload(url, pid, 50_000, seconds))


if __name__ == "__main__":
    main()
