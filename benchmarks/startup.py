"""Measure cold start (process start to the first 200 of /predict) and resident memory. Prints medians.

    python -m benchmarks.startup [--runs 7]

The service runs in its own process with ONNX Runtime, as a user would start it. A first run, which is not counted,
brings the files into the page cache.
"""

import argparse
import http.client
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from app.http.schemas import EXAMPLE_IMAGE
from app.settings import released_model
from tests.support.ports import free_port

BODY = f'{{"image": "{EXAMPLE_IMAGE}"}}'.encode()


def wait_for_answer(port: int, deadline: float) -> None:
    """Post a digit again and again until the answer is 200."""
    while time.perf_counter() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.005)
    raise SystemExit("the service did not answer within 60 s")


def resident_megabytes(pid: int) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def measure() -> tuple[float, float]:
    """Start the service once. Return the seconds to its first answer, and MB resident after 1,000 more."""
    port = free_port()
    started = time.perf_counter()
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--log-level", "error"]
    server = subprocess.Popen([*command, "--engine", "onnxruntime"])
    try:
        wait_for_answer(port, started + 60)
        seconds = time.perf_counter() - started
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for _ in range(1_000):
            connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
            connection.getresponse().read()
        return seconds, resident_megabytes(server.pid)
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=7, help="number of starts to measure [7]")
    runs = parser.parse_args().runs
    measure()
    results = [measure() for _ in range(runs)]
    seconds, megabytes = (statistics.median(column) for column in zip(*results, strict=True))
    print(f"{released_model().name}, ONNX Runtime, Python {platform.python_version()}; medians of {runs}")
    print(f"cold start:       {seconds:.2f} s, from process start to the first 200 of /predict")
    print(f"resident memory:  {megabytes:.0f} MB, after 1,000 requests")


if __name__ == "__main__":
    main()
