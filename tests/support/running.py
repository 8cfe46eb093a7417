"""A real server: the command that users type, in its own process, on a free port."""

import io
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import httpx

from app.__main__ import main

ROOT = Path(__file__).parents[2]
METRICS_DELAY_S = 1.0  # workers update their metrics twice a second
READY_TIMEOUT_S = 30
LOG_TIMEOUT_S = 10


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    pid: int
    log: Path

    def wait_for_log(self, text: str) -> str:
        """Return the log as soon as it contains a text. The line of a request is written just after its answer."""
        deadline = time.monotonic() + LOG_TIMEOUT_S
        while text not in (log := self.log.read_text()):
            assert time.monotonic() < deadline, f"{text} is not in the log:\n{log}"
            time.sleep(0.01)
        return log

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


def clean_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without the settings of the service, and with ``changes``.

    The variables of ``make test`` are left out, too: with them, another make would print more than a user sees.
    """
    left_out = ("DIGITS_", "MAKE", "MFLAGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | changes


def run_app(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line until it ends."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "app", *arguments],
        cwd=ROOT,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run_main(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process. This saves the second that ``run_app`` needs to start a new one."""
    stdout, stderr = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    with (
        patch.dict(os.environ, clean_environment(**environment), clear=True),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        status = main(arguments)
    stdout.seek(0)
    return subprocess.CompletedProcess(arguments, status, stdout.read(), stderr.getvalue())


@contextmanager
def running(
    *flags: str, module: str = "app", descriptors: tuple[int, int] | None = None, **environment: str
) -> Iterator[Server]:
    """Run a server until the block ends: ``app``, or ``benchmarks.faulty_server``, which is the same with faults.

    Warnings are errors. The working directory is empty, so there is no ``.env``. At the end the server stops without a
    drain, unless ``environment`` sets ``DIGITS_DRAIN_MS``.

    Args:
        descriptors: The soft and the hard limit of its file descriptors.
    """
    limit = partial(resource.setrlimit, resource.RLIMIT_NOFILE, descriptors) if descriptors else None
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", module, "serve", "--port", "0", *flags],
                cwd=folder,
                env=clean_environment(**{"HOME": folder, "DIGITS_DRAIN_MS": "0"} | environment),
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=limit,  # no other thread of the tests holds a lock here
            )
        try:
            yield Server(wait_until_ready(process, log), process.pid, log)
        finally:
            process.terminate()
            process.wait(timeout=20)


def wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the server logs its address and is ready. Return the address."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}:\n{log.read_text()}")
        if found := re.search(r"running on (http://[\d.]+:\d+)", log.read_text()):
            with suppress(httpx.ConnectError):  # with several workers, maybe none listens yet
                httpx.get(f"{found[1]}/readyz").raise_for_status()
                return found[1]
        time.sleep(0.02)
    raise TimeoutError(log.read_text())
