"""A real server: the command line that users type, in a process of its own, on a free port."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Server:
    url: str
    pid: int
    log: Path

    def logged(self, text: str) -> str:
        """The log, once it has this: the line of a request is written just after its answer."""
        deadline = time.monotonic() + 10
        while text not in (log := self.log.read_text()):
            assert time.monotonic() < deadline, f"{text} is not in the log:\n{log}"
            time.sleep(0.01)
        return log

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


def clean_environment(**changes: str) -> dict[str, str]:
    """This process's environment without settings of the service, and with these instead."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DIGITS_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | changes


def run_app(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "app", *arguments],
        cwd=ROOT,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def running(*flags: str, module: str = "app", **environment: str) -> Iterator[Server]:
    """Serve until the block ends, with ``app``, or with ``benchmarks.faulty``, which is the same with faults.

    Warnings are errors, and the folder that it runs in is empty: no .env, and nothing else to find. It ends without
    serving on for a while, unless told otherwise.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", module, "serve", "--port", "0", *flags],
                cwd=folder,
                env=clean_environment(**{"HOME": folder, "DIGITS_DRAIN_MS": "0"} | environment),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield Server(wait_until_ready(process, log), process.pid, log)
        finally:
            process.terminate()
            process.wait(timeout=20)


def wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the server says where it listens, and is ready there."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}:\n{log.read_text()}")
        if found := re.search(r"running on (http://[\d.]+:\d+)", log.read_text()):
            with suppress(httpx.ConnectError):  # of several workers, none may listen yet
                httpx.get(f"{found[1]}/readyz").raise_for_status()
                return found[1]
        time.sleep(0.02)
    raise TimeoutError(log.read_text())
