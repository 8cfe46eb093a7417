"""Writes lines to a file descriptor without ever making the writer wait.

A pipe that nobody reads, a terminal that is stopped or a disk that hangs blocks whoever writes to it. So a thread
writes. While it is blocked, lines wait, up to a maximum; further ones are dropped and counted.
"""

import os
import threading
import time
from collections import deque

MAX_LINES = 8192  # that wait: 2 MB of the access log
INTERVAL_S = 0.05  # for which lines are collected
YIELD_S = 0.0005  # for which a writer lets the thread run when many lines wait: a busy event loop may never let it run
CLOSE_TIMEOUT_S = 0.5  # for writing the last lines
WRITE_BYTES = 4096  # of one write: up to this size, a pipe does not mix it with the writes of other processes
FEW_LINES = 256  # if more wait, larger writes: after each, a busy event loop makes the thread wait for its turn
CATCH_UP_BYTES = 524_288  # of a larger write


class LineWriter:
    """Writes lines in a thread.

    Args:
        fd: The file descriptor to write to. It stays open.
    """

    dropped = 0  # lines that all writers of this process have lost

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: deque[str] = deque()
        self._has_lines = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Write a line, which ends with a line feed. May be called from any thread."""
        if len(self._lines) >= MAX_LINES:
            LineWriter.dropped += 1
            return
        self._lines.append(line)
        waiting = len(self._lines)
        if waiting == 1:
            self._start()
        elif waiting == MAX_LINES // 2:
            time.sleep(YIELD_S)

    def _start(self) -> None:
        """Wake the thread, or start it."""
        self._has_lines.set()
        if self._thread is None:
            self._closing.clear()
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._has_lines.wait()
            self._closing.wait(INTERVAL_S)
            self._has_lines.clear()
            self._write_all()

    def _write_all(self) -> None:
        while self._lines:
            batch = self._take(WRITE_BYTES if len(self._lines) <= FEW_LINES else CATCH_UP_BYTES)
            try:
                while batch:
                    batch = batch[os.write(self._fd, batch) :]
            except OSError:  # the disk is full, or the reader has gone
                LineWriter.dropped += batch.count(b"\n")

    def _take(self, max_bytes: int) -> bytes:
        """Take as many lines as fit, but at least one."""
        lines = [self._lines.popleft()]
        size = len(lines[0])
        while self._lines and (size := size + len(self._lines[0])) <= max_bytes:
            lines.append(self._lines.popleft())
        return "".join(lines).encode(errors="backslashreplace")

    def close(self) -> None:
        """Write the lines that wait, unless that takes too long. A later line opens the writer again."""
        if thread := self._thread:
            self._closing.set()
            self._has_lines.set()
            thread.join(CLOSE_TIMEOUT_S)
            self._thread = None
