"""Several processes that serve one address, and the one that watches over them: uvicorn's, with three things otherwise.

A worker that dies is replaced at once and not at the next look; a worker that cannot start stops the service only where
none has ever served; and SIGHUP is passed on to the workers, who know what to do with it.
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

from app.server.uvicorn_server import Server, turn_away

logger = logging.getLogger(__name__)

LOOKED = 0.5  # seconds from one look at the workers to the next, where none dies
SOONER = 0.05  # seconds before the workers close the socket that nobody new is let in
PAUSE = 1.0  # seconds after a worker could not start, before another is tried


class Worker(Process):
    """A process that serves, with our server."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket], drain: float, grace: float) -> None:
        super().__init__(config, sockets)
        self._times = drain, grace

    def start(self) -> None:
        """Start it, deaf to Ctrl-C until it can end in order: in the midst of an import that would be a traceback."""
        heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
        super().start()
        signal.signal(signal.SIGINT, heard)

    def _healthcheck(self, timeout: float) -> bool | None:
        """Whether it has started; None where it does not answer in time, or ends meanwhile: that is not waited out."""
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
            self._server = Server(self.config, *self._times)
        assert isinstance(self._server, Server)
        return self._server


class Supervisor(Multiprocess):
    """Keeps as many workers as the configuration says. ``status`` is what the process should end with."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket], drain: float, grace: float) -> None:
        super().__init__(config, sockets)
        self._times = drain, grace
        self._served = False  # some worker has
        self._untold: set[Process] = set()  # of a SIGHUP
        self._not_before = 0.0  # when a worker may be tried again
        self.status = 0

    def init_processes(self) -> None:
        self.processes = [self._new() for _ in range(self.processes_num)]

    def _new(self) -> Worker:
        worker = Worker(self.config, self.sockets, *self._times)
        worker.start()
        return worker

    def run(self) -> None:
        self.init_processes()
        while not self.should_exit.is_set():
            wait([process.process.sentinel for process in self.processes], LOOKED)
            self.handle_signals()
            self.keep_subprocess_alive()
            self.pass_on()
        self.terminate_all()
        until = time.monotonic() + self._times[0] - SOONER
        while (alive := self._alive()) and (left := until - time.monotonic()) > 0:  # after Ctrl-C they end at once
            wait(alive, left)
        for listener in self.sockets:
            turn_away(listener.fileno())
        self.join_all()

    def _alive(self) -> list[int]:
        """What tells the end of each worker that has not ended."""
        return [process.process.sentinel for process in self.processes if process.process.is_alive()]

    def keep_subprocess_alive(self) -> None:
        for index, process in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if process.is_alive(timeout=self.config.timeout_worker_healthcheck):
                self._served = self._served or process.is_ready(timeout=1)
                continue
            process.kill()  # it may hang
            process.join()
            if process.exitcode == uvicorn.config.STARTUP_FAILURE:
                if not self._served:
                    self.status = uvicorn.config.STARTUP_FAILURE
                    self.should_exit.set()
                    return
                if time.monotonic() < self._not_before:
                    time.sleep(LOOKED)
                    return
                self._not_before = time.monotonic() + PAUSE
            logger.warning("worker %d ended with %s; another takes its place", process.pid, process.exitcode)
            self.processes[index] = self._new()

    def handle_hup(self) -> None:
        self._untold = set(self.processes)

    def pass_on(self) -> None:
        """Tell the workers of a SIGHUP, each when it is ready: one that still starts would be ended by it."""
        for process in list(self._untold):
            if process.is_ready(timeout=1) and process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGHUP)
                self._untold.discard(process)
        self._untold &= set(self.processes)
