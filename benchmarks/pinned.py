"""The service on one core, and what asks it on the other; on a machine of one core, both there."""

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

from benchmarks.startup import free_port

SERVER_CORE, LOAD_CORE = {0}, {1}


def start(
    command: Sequence[str],
    core: set[int] | None,
    output: int | None = subprocess.DEVNULL,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process; without a core it may use all."""
    changed = {**os.environ, **(environment or {})}
    errors = subprocess.STDOUT if output is not None and output > 0 else subprocess.DEVNULL  # both into a file
    process = subprocess.Popen(command, stdout=output, stderr=errors, env=changed)
    if core and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(process.pid, core)
    return process


@contextmanager
def serving(
    *flags: str, module: str = "app", core: set[int] | None = SERVER_CORE, log: Path | None = None, **environment: str
) -> Iterator[tuple[str, int]]:
    """The service as it ships, or ``benchmarks.faulty``, its log in a file: its address, and its process."""
    with tempfile.TemporaryDirectory() as folder, (log or Path(folder) / "log").open("wb") as file:
        port = free_port()
        command = [sys.executable, "-m", module, "serve", "--port", str(port), *flags]
        process = start(command, core, file.fileno(), {"DIGITS_DRAIN_MS": "0"} | environment)
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


def bench(url: str, *arguments: str) -> dict[str, Any]:
    """What ``digitserve bench --json`` finds, run on the core of the load."""
    process = start(
        [sys.executable, "-m", "app", "bench", "--url", url, "--json", *arguments], LOAD_CORE, subprocess.PIPE
    )
    output, _ = process.communicate()
    found: dict[str, Any] = json.loads(output)
    return found


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
