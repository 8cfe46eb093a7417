"""Several worker processes on one address, and their supervisor.

The supervisor imports neither the service nor its libraries, so it is small and has little that can fail. While the
event loop of a worker turns, the worker writes a byte into a pipe every second. A worker that is silent for too long is
killed. A worker whose supervisor no longer reads the pipe stops.
"""

import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait

from app.server.announcement import announce
from app.server.listeners import stop_new_connections
from app.server.sighup import SighupHandler

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)
STARTUP_FAILURE = 3  # exit status of a worker that has logged why it cannot start
CHECK_INTERVAL_S = 0.5  # between two checks of the workers, while nothing happens
STOP_CHECK_INTERVAL_S = 0.02  # the same during the shutdown
STOP_ACCEPTING_S = 0.05  # before the workers close the sockets, new connections are stopped
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 30.0  # before workers that could not start are replaced; each pause is twice the last
MAX_FAILED_STARTS = 5  # in a row, with no worker left

StartWorker = Callable[[Connection], None]
"""Serves in a worker. It gets the pipe to write to, and ends the process with an exit status."""

SPAWN = multiprocessing.get_context("spawn")


class Worker:
    """A worker process, as the supervisor sees it."""

    def __init__(self, start: StartWorker) -> None:
        self.pipe, its_pipe = SPAWN.Pipe(duplex=False)
        self.process = SPAWN.Process(target=start, args=(its_pipe,), daemon=True)
        # The worker inherits this and unblocks each of them when it can handle it. Until then they wait.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            its_pipe.close()
        self.pid, self.end = self.process.pid, self.process.sentinel
        self.retired = False  # it shall end, and not be replaced
        self.last_sign: float | None = None  # when it last wrote into the pipe; None while it starts

    def send(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.pid is not None and self.process.exitcode is None:
            os.kill(self.pid, number)
            if number == signal.SIGINT and self.last_sign is None:  # while it starts, it cannot handle SIGINT
                os.kill(self.pid, signal.SIGTERM)


class Supervisor:
    """Keeps workers running. SIGHUP reloads their models, SIGTTIN adds a worker, and SIGTTOU removes one.

    Args:
        start: Serves in each worker.
        count: How many workers to keep running.
        listeners: The sockets of the workers.
        timeout_s: How long a worker may be silent.
        drain_s: How long the workers keep serving after SIGTERM.
        grace_s: The longest time from a signal until all workers have ended.
    """

    def __init__(
        self,
        start: StartWorker,
        count: int,
        listeners: Sequence[socket.socket],
        timeout_s: float,
        drain_s: float,
        grace_s: float,
    ) -> None:
        self._start, self._count, self._listeners = start, count, list(listeners)
        self._timeout_s, self._drain_s, self._grace_s = timeout_s, drain_s, grace_s
        self._announcement = announce(listeners, count)
        self._workers: list[Worker] = []
        self._status = 0
        self._has_served = False  # whether any worker ever did
        self._failed_starts = 0  # since a worker last became ready
        self._next_start = 0.0  # when workers may be started again
        self._stopping_since: float | None = None
        self._on_hup = SighupHandler(lambda: self._send_all(signal.SIGHUP))

    def run(self) -> int:
        """Run until a signal, or until no worker can start. Return the exit status."""
        signals, wakeup = socket.socketpair()  # Python writes the number of each signal into it
        with signals, wakeup:
            resource_tracker.ensure_running()  # now, because it unblocks SIGINT, which a worker must inherit blocked
            wakeup.setblocking(False)
            signal.set_wakeup_fd(wakeup.fileno())
            for each in SIGNALS:
                signal.signal(each, lambda number, frame: None)
            while self._workers or self._stopping_since is None:
                if self._stopping_since is None:
                    self._start_missing()
                else:
                    self._watch_shutdown(time.monotonic() - self._stopping_since)
                self._wait(signals)
            signal.set_wakeup_fd(-1)
        self._stop_accepting()
        return self._status

    def _wait(self, signals: socket.socket) -> None:
        """Wait until a worker has written or ended or a signal has come, and handle all that has happened."""
        timeout_s = CHECK_INTERVAL_S if self._stopping_since is None else STOP_CHECK_INTERVAL_S
        events = wait([signals, *(each for worker in self._workers for each in (worker.pipe, worker.end))], timeout_s)
        for worker in list(self._workers):
            self._check(worker, worker.pipe in events)
        for number in signals.recv(4096) if signals in events else b"":
            self._handle(number)

    def _start_missing(self) -> None:
        """Start the workers that are missing, unless the last ones could not start and the pause is not over."""
        missing = self._count - sum(not worker.retired for worker in self._workers)
        if time.monotonic() >= self._next_start:
            try:
                for _ in range(missing):
                    self._workers.append(Worker(self._start))
            except OSError as error:  # such as too many processes
                logger.error("cannot start a worker: %s", error.strerror)
                self._note_failed_start()

    def _check(self, worker: Worker, has_written: bool) -> None:
        """Note that a worker works, or remove it because it has ended, or kill it because it is silent."""
        now, status = time.monotonic(), worker.process.exitcode
        if has_written and os.read(worker.pipe.fileno(), 4096):  # otherwise it has ended
            if worker.last_sign is None:
                self._failed_starts = 0
            worker.last_sign = now
            if not self._has_served:
                self._has_served = True
                logger.info("%s", self._announcement)
        if status is not None:
            self._workers.remove(worker)
            worker.pipe.close()
            if self._stopping_since is None and not worker.retired:
                logger.warning("worker %d ended with %s", worker.pid, status)
                if worker.last_sign is None:
                    self._note_failed_start(status)
        elif worker.last_sign is not None and now - worker.last_sign > self._timeout_s:
            logger.error("worker %d is killed: it has shown no sign of life for %g s", worker.pid, self._timeout_s)
            worker.send(signal.SIGKILL)

    def _note_failed_start(self, status: int = 1) -> None:
        """Pause before the next start, or give up."""
        if time.monotonic() >= self._next_start:  # otherwise it started together with one that failed
            pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2**self._failed_starts)
            self._next_start = time.monotonic() + pause_s
            self._failed_starts += 1
        if (status == STARTUP_FAILURE and not self._has_served) or (
            self._failed_starts >= MAX_FAILED_STARTS and not self._workers
        ):
            logger.error("no worker can start; the service ends")
            self._status = STARTUP_FAILURE
            self._stop(signal.SIGTERM)

    def _handle(self, number: int) -> None:
        """Handle a signal."""
        if number == signal.SIGHUP:
            self._on_hup()
        elif number == signal.SIGTTIN:
            self._count += 1
        elif number == signal.SIGTTOU:
            self._count = max(1, self._count - 1)
            for worker in [worker for worker in self._workers if not worker.retired][self._count :]:
                worker.retired = True
                worker.send(signal.SIGTERM)
        else:
            self._stop(number)

    def _stop(self, number: int) -> None:
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
        self._send_all(number)

    def _send_all(self, number: int) -> None:
        for worker in self._workers:
            worker.send(number)

    def _watch_shutdown(self, elapsed_s: float) -> None:
        """Stop new connections just before the workers close the sockets, and kill workers that do not end."""
        if elapsed_s >= self._drain_s - STOP_ACCEPTING_S:
            self._stop_accepting()
        if elapsed_s >= self._grace_s:
            self._send_all(signal.SIGKILL)

    def _stop_accepting(self) -> None:
        while self._listeners:
            with self._listeners.pop() as listener:
                stop_new_connections(listener.fileno())
