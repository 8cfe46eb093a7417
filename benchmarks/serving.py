"""A server under measurement: started on one core, watched through /proc, and ended with all that it started.

Some servers are a dozen processes, and some of those leave their parent. So this process becomes the one that the
kernel gives orphans to, and whatever a server starts stays among its descendants. Knows nothing of requests.
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
from benchmarks.startup import free_port

CORE = "0"  # of servers; the load has core 1
PR_SET_CHILD_SUBREAPER = 36  # of linux/prctl.h
START_SECONDS = 90  # to the first answer
STOP_SECONDS = 20  # to end of its own accord when asked to
TICKS = os.sysconf("SC_CLK_TCK")  # a second


class ServerError(Exception):
    """A server that does not do what it is there for, and what it said."""


@dataclass(frozen=True)
class Process:
    """A line of /proc/PID/stat, as far as it matters here."""

    pid: int
    parent: int
    state: str
    cpu_seconds: float  # its own, and that of the children whose end it has seen

    @classmethod
    def parse(cls, line: str) -> "Process":
        pid, _, rest = line.partition(" (")
        fields = rest.rpartition(") ")[2].split()  # a name may have brackets and spaces in it
        return cls(int(pid), int(fields[1]), fields[0], sum(map(int, fields[11:15])) / TICKS)


def descendants(root: int) -> list[Process]:
    """Every process below one, zombies included: their time counts until somebody asks for it."""
    children: dict[int, list[Process]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            process = Process.parse(stat.read_text())
            children.setdefault(process.parent, []).append(process)
    found, pending = [], [root]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += [process.pid for process in below]
    return found


class Server:
    """All processes of the one server that runs."""

    def __init__(self, leader: subprocess.Popen[bytes], log: Path) -> None:
        self.leader = leader
        self.log = log
        self.started = time.perf_counter()

    def cpu_seconds(self) -> float:
        """The time that all of its processes have taken of a core since they started."""
        return sum(process.cpu_seconds for process in descendants(os.getpid()))

    def resident_megabytes(self) -> float:
        """Its memory, a page that several of its processes share counted once."""
        total = 0
        for process in descendants(os.getpid()):
            with suppress(OSError):
                rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
                total += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
        return total / 1024

    def wait_until_ready(self, obstacle: Callable[[], str | None]) -> float:
        """Ask until nothing is in the way of an answer: the seconds since its start.

        Raises:
            ServerError: it ended, or took too long.
        """
        while told := obstacle():
            if self.leader.poll() is not None:
                raise ServerError(f"ended with {self.leader.returncode} before it answered: {self.last_words()}")
            if time.perf_counter() - self.started > START_SECONDS:
                raise ServerError(f"did not answer within {START_SECONDS} s, but {told}: {self.last_words()}")
            time.sleep(0.01)
        return time.perf_counter() - self.started

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"{lines[-1][:300] if lines else 'it said nothing'} ({self.log})"

    def stop(self) -> None:
        """Ask its leader to end, and end what is left of it after a while, or at another Ctrl-C."""
        with suppress(ProcessLookupError):
            self.leader.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            self.leader.wait(STOP_SECONDS)
        while left := descendants(os.getpid()):
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            self.leader.poll()
            with suppress(ChildProcessError):  # orphans are ours to bury
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            time.sleep(0.05)


@contextmanager
def serving(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> Iterator[Server]:
    """Run a server in a folder until the block ends. One at a time.

    It is the leader of a session, so that a Ctrl-C is for this process alone, which then ends it in good order.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with log.open("wb") as output:
        leader = subprocess.Popen(
            ["taskset", "-c", CORE, *command],
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
def started(contender: Contender) -> Iterator[tuple[Server, int]]:
    """Run a contender, installed if need be, until the block ends: it, and the port that it was given.

    Its home, where it runs, is a folder of its own that goes when it does; its log stays in build/bench/.

    Raises:
        InstallError: it could not be installed.
        ServerError: what it needs done before could not be done.
    """
    installed = environments.environment(contender.folder, contender.torch)
    port = free_port()

    def command(words: Sequence[str]) -> list[str]:
        program, *arguments = (word.format(port=port) for word in words)
        return [str(installed / "bin" / program), *arguments]

    with tempfile.TemporaryDirectory(prefix="digits-", ignore_cleanup_errors=True) as home:
        settings = {
            name: value.format(port=port, batch=contender.batch) for name, value in contender.environment.items()
        }
        environment = environments.activated(installed, HOME=home, BATCH=str(contender.batch), **settings)
        if contender.prepare:
            prepare = command(contender.prepare)
            prepared = subprocess.run(prepare, cwd=home, env=environment, capture_output=True, text=True, check=False)
            if prepared.returncode:
                raise ServerError(f"{' '.join(contender.prepare)}: {prepared.stderr.strip()[-300:]}")
        log = environments.BUILD / f"{contender.name}.log"
        with serving(command(contender.command), Path(home), environment, log) as server:
            yield server, port
