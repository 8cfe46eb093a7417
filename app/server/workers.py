"""uvicorn's worker processes and their supervisor, with three changes.

A worker that dies is replaced immediately, not at the next check. A worker that cannot start stops the service only if
no worker has ever served. SIGHUP is passed on to the workers, which reload their model.
"""

import logging
import os
import signal
import time
from contextlib import suppress
from multiprocessing.connection import wait
from socket import socket

import uvicorn
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from app.server.uvicorn_server import Server, stop_new_connections

logger = logging.getLogger(__name__)

CHECK_INTERVAL_S = 0.5  # between two checks of the workers, while none dies
STOP_ACCEPTING_S = 0.05  # before the workers close the socket, new connections are stopped
RESTART_INTERVAL_S = 1.0  # between two attempts to replace workers that cannot start


class Worker(Process):
    """A process that serves with our ``Server``."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket], drain_s: float, grace_s: float) -> None:
        super().__init__(config, sockets)
        self._drain_s, self._grace_s = drain_s, grace_s

    def start(self) -> None:
        """Start the process. It ignores Ctrl-C until it can shut down: during an import, Ctrl-C prints a traceback."""
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        super().start()
        signal.signal(signal.SIGINT, handler)

    def _healthcheck(self, timeout: float) -> bool | None:
        """Return whether the process has started, or None if it does not reply in time or dies meanwhile."""
        try:
            self.parent_conn.send(b"ping")
            if self.parent_conn in wait([self.parent_conn, self.process.sentinel], timeout):
                return bool(self.parent_conn.recv())
        except (OSError, EOFError):
            pass
        return None

    @property
    def server(self) -> Server:
        if self._server is None:
            self._server = Server(self.config, self._drain_s, self._grace_s)
        assert isinstance(self._server, Server)
        return self._server


class Supervisor(Multiprocess):
    """Keeps as many workers running as the configuration asks for. ``status`` is the exit status of the service."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket], drain_s: float, grace_s: float) -> None:
        super().__init__(config, sockets)
        self._drain_s, self._grace_s = drain_s, grace_s
        self._has_served = False  # whether any worker ever was ready
        self._hup_pending: set[Process] = set()  # workers that still have to get a SIGHUP
        self._next_restart = 0.0  # when the next worker that could not start may be replaced
        self.status = 0

    def init_processes(self) -> None:
        self.processes = [self._start_worker() for _ in range(self.processes_num)]

    def _start_worker(self) -> Worker:
        worker = Worker(self.config, self.sockets, self._drain_s, self._grace_s)
        worker.start()
        return worker

    def run(self) -> None:
        self.init_processes()
        while not self.should_exit.is_set():
            wait([process.process.sentinel for process in self.processes], CHECK_INTERVAL_S)
            self.handle_signals()
            self.keep_subprocess_alive()
            self._forward_hup()
        self.terminate_all()
        deadline = time.monotonic() + self._drain_s - STOP_ACCEPTING_S
        # After Ctrl-C the workers stop immediately.
        while (sentinels := self._live_sentinels()) and (remaining := deadline - time.monotonic()) > 0:
            wait(sentinels, remaining)
        for listener in self.sockets:
            stop_new_connections(listener.fileno())
        self.join_all()

    def _live_sentinels(self) -> list[int]:
        """Return the sentinel of each running worker, which becomes ready when the worker ends."""
        return [process.process.sentinel for process in self.processes if process.process.is_alive()]

    def keep_subprocess_alive(self) -> None:
        for index, process in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if process.is_alive(timeout=self.config.timeout_worker_healthcheck):
                self._has_served = self._has_served or process.is_ready(timeout=1)
                continue
            process.kill()  # it may be hanging
            process.join()
            if process.exitcode == uvicorn.config.STARTUP_FAILURE:
                if not self._has_served:
                    self.status = uvicorn.config.STARTUP_FAILURE
                    self.should_exit.set()
                    return
                if time.monotonic() < self._next_restart:
                    time.sleep(CHECK_INTERVAL_S)
                    return
                self._next_restart = time.monotonic() + RESTART_INTERVAL_S
            logger.warning("worker %d ended with %s and is being replaced", process.pid, process.exitcode)
            self.processes[index] = self._start_worker()

    def handle_hup(self) -> None:
        self._hup_pending = set(self.processes)

    def _forward_hup(self) -> None:
        """Send a SIGHUP to each worker that has to get one, once it is ready. While it starts, SIGHUP would kill it."""
        for process in list(self._hup_pending):
            if process.is_ready(timeout=1) and process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGHUP)
                self._hup_pending.discard(process)
        self._hup_pending &= set(self.processes)
