"""Run the service on core 0 and everything that sends it requests on core 1. With a single core, both share it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.ports import free_port

SERVER_CORE, LOAD_CORE = {0}, {1}
SINGLE_CORE = len(os.sched_getaffinity(0)) == 1  # before a benchmark pins itself


def pin(core: set[int], pid: int = 0) -> None:
    """Run a process on one core only. 0 is this process. With a single core, there is nothing to choose."""
    if not SINGLE_CORE:
        os.sched_setaffinity(pid, core)


def start_process(
    command: Sequence[str],
    core: set[int] | None,
    output: int | None = subprocess.DEVNULL,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process on one core, or on all cores if ``core`` is None."""
    variables = {**os.environ, **(environment or {})}
    errors = subprocess.STDOUT if output is not None and output > 0 else subprocess.DEVNULL  # a file gets both streams
    process = subprocess.Popen(command, stdout=output, stderr=errors, env=variables)
    if core:
        pin(core, process.pid)
    return process


@contextmanager
def run_service(
    *flags: str, module: str = "app", core: set[int] | None = SERVER_CORE, log: Path | None = None, **environment: str
) -> Iterator[tuple[str, int]]:
    """Run the service, or ``benchmarks.faulty_server``, and log to a file. Yield its URL and process id."""
    with tempfile.TemporaryDirectory() as folder, (log or Path(folder) / "log").open("wb") as file:
        port = free_port()
        command = [sys.executable, "-m", module, "serve", "--port", str(port), *flags]
        process = start_process(command, core, file.fileno(), {"DIGITS_DRAIN_MS": "0"} | environment)
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(300):
                try:
                    httpx.get(f"{url}/readyz").raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.1)
            yield url, process.pid
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)


def run_bench(url: str, *arguments: str) -> dict[str, Any]:
    """Run ``digitserve bench --json`` on the core of the load and return its result."""
    process = start_process(
        [sys.executable, "-m", "app", "bench", "--url", url, "--json", *arguments], LOAD_CORE, subprocess.PIPE
    )
    output, _ = process.communicate()
    result: dict[str, Any] = json.loads(output)
    return result


def count_descriptors(pid: int) -> int:
    """Count the open file descriptors of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
