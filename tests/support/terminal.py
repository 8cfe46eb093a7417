"""A terminal in which a command runs, with what it writes."""

import os
import pty
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.running import ROOT, clean_environment

TIMEOUT_S = 60


@dataclass
class Terminal:
    """The other end of a terminal, as a person sees it."""

    process: subprocess.Popen[bytes]
    controller: int
    seen: str = ""

    def wait_for(self, text: str) -> None:
        """Wait until the terminal shows a text."""
        deadline = time.monotonic() + TIMEOUT_S
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            more = self._read()
            assert more, f"{text} was not shown:\n{self.seen}"
            self.seen += more

    def wait_for_end(self) -> int:
        """Read until no process has the terminal open. Return the exit status of the command."""
        while more := self._read():
            self.seen += more
        return self.process.wait(TIMEOUT_S)

    def press_ctrl_c(self) -> None:
        """Interrupt every process in the foreground, as the terminal does when the keys are pressed."""
        os.write(self.controller, b"\x03")

    def _read(self) -> str:
        """Read what has been written. Returns nothing once no process has the terminal open."""
        try:
            return os.read(self.controller, 4096).decode()
        except OSError:
            return ""


@contextmanager
def run_in_terminal(command: Sequence[str], **environment: str) -> Iterator[Terminal]:
    """Run a command with a terminal as its standard input, output and error, and kill it at the end of the block."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        # setsid makes the terminal the controlling one, so that Ctrl-C reaches the command and what it starts.
        ["setsid", "--ctty", "--wait", *command],
        cwd=ROOT,
        env=clean_environment(**environment),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    try:
        yield Terminal(process, controller)
    finally:
        process.kill()
        process.wait()
        os.close(controller)
