"""A server under measurement: started on one core, observed through /proc, and stopped with all its processes.

Some servers have a dozen processes, and some of those leave their parent. This process therefore becomes the subreaper
that the kernel gives orphans to, so that everything a server starts stays among its descendants. This module knows
nothing about requests.
"""

import ctypes
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import environments
from benchmarks.peers import Contender
from tests.support.ports import free_port

SERVER_CORE = "0"  # the load has core 1
PR_SET_CHILD_SUBREAPER = 36  # from linux/prctl.h
START_TIMEOUT_S = 90  # to the first answer
STOP_TIMEOUT_S = 20  # from SIGTERM; then the server is killed
TICKS = os.sysconf("SC_CLK_TCK")  # per second


class ServerError(Exception):
    """A server does not do its job. The message says what it said."""


@dataclass(frozen=True)
class Process:
    """The fields of /proc/PID/stat that matter here."""

    pid: int
    parent: int
    state: str
    cpu_seconds: float  # of the process, and of the children that it has waited for

    @classmethod
    def parse(cls, line: str) -> "Process":
        """Parse the content of a stat file."""
        pid, _, rest = line.partition(" (")
        fields = rest.rpartition(") ")[2].split()  # the name may contain brackets and spaces
        return cls(int(pid), int(fields[1]), fields[0], sum(map(int, fields[11:15])) / TICKS)


def list_descendants(root: int) -> list[Process]:
    """List all processes below one. Zombies are included: their CPU time counts until they are waited for."""
    children: dict[int, list[Process]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            process = Process.parse(stat.read_text())
            children.setdefault(process.parent, []).append(process)
    descendants, pending = [], [root]
    while pending:
        below = children.get(pending.pop(), [])
        descendants += below
        pending += [process.pid for process in below]
    return descendants


class Server:
    """All processes of the one server that runs."""

    def __init__(self, leader: subprocess.Popen[bytes], log: Path) -> None:
        self.leader = leader
        self.log = log
        self.start_time = time.perf_counter()

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its processes since they started."""
        return sum(process.cpu_seconds for process in list_descendants(os.getpid()))

    def resident_megabytes(self) -> float:
        """Return its memory. A page that several of its processes share counts once."""
        total = 0
        for process in list_descendants(os.getpid()):
            with suppress(OSError):
                rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
                total += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
        return total / 1024

    def wait_until_ready(self, try_request: Callable[[], str | None]) -> float:
        """Call ``try_request`` until it returns no error. Return the seconds since the start.

        Raises:
            ServerError: The server ended or took too long.
        """
        while error := try_request():
            if self.leader.poll() is not None:
                raise ServerError(f"ended with {self.leader.returncode} before it answered: {self.last_log_line()}")
            if time.perf_counter() - self.start_time > START_TIMEOUT_S:
                raise ServerError(f"did not answer within {START_TIMEOUT_S} s ({error}): {self.last_log_line()}")
            time.sleep(0.01)
        return time.perf_counter() - self.start_time

    def last_log_line(self) -> str:
        """Return the last line of its log, and where the log is."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"{lines[-1][:300] if lines else 'it logged nothing'} ({self.log})"

    def stop(self) -> None:
        """Terminate the leader. Kill all that is left after a timeout, or at another Ctrl-C."""
        with suppress(ProcessLookupError):
            self.leader.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            self.leader.wait(STOP_TIMEOUT_S)
        while remaining := list_descendants(os.getpid()):
            for process in remaining:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            self.leader.poll()
            with suppress(ChildProcessError):  # the subreaper must wait for orphans
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            time.sleep(0.05)


@contextmanager
def run_server(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> Iterator[Server]:
    """Run a server in a folder until the block ends. Only one server can run at a time.

    It leads its own session, so that Ctrl-C reaches only this process, which then stops the server properly.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with log.open("wb") as output:
        leader = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, *command],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(leader, log)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def run_contender(contender: Contender) -> Iterator[tuple[Server, int]]:
    """Run a contender until the block ends, and install it first if necessary. Yield the server and its port.

    It runs in a temporary folder, which is also its home. Its log stays in build/bench/.

    Raises:
        InstallError: It could not be installed.
        ServerError: Its preparation failed.
    """
    installed = environments.create_environment(contender.folder, contender.torch)
    port = free_port()

    def expand(words: Sequence[str]) -> list[str]:
        program, *arguments = (word.format(port=port) for word in words)
        return [str(installed / "bin" / program), *arguments]

    with tempfile.TemporaryDirectory(prefix="digits-", ignore_cleanup_errors=True) as home:
        settings = {
            name: value.format(port=port, batch=contender.batch) for name, value in contender.environment.items()
        }
        environment = environments.server_variables(installed, HOME=home, BATCH=str(contender.batch), **settings)
        if contender.prepare:
            command = expand(contender.prepare)
            prepared = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
            if prepared.returncode:
                raise ServerError(f"{' '.join(contender.prepare)}: {prepared.stderr.strip()[-300:]}")
        log = environments.BUILD / f"{contender.name}.log"
        with run_server(expand(contender.command), Path(home), environment, log) as server:
            yield server, port
