"""uvicorn's HTTP protocol plus receive timeouts, a header limit, and cancellation when the client disconnects."""

import asyncio
import fcntl
import termios
from array import array
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.http.middleware.request_log import BODY_TOO_SLOW, CLIENT_DISCONNECTED
from app.http.problems import connection_problem
from app.server.request_cycle import RequestCycle, format_headers, format_response

MAX_HEAD_BYTES = 65_536  # of a request; checked after each packet
MAX_UNREAD_S = 60.0  # for which a client may leave a response unread


class DiscardedTrailers(list[tuple[bytes, bytes]]):
    """Discards the trailers of a chunked body. Nothing reads them, and there may be any number of them."""

    def append(self, header: tuple[bytes, bytes]) -> None:
        pass


DISCARDED_TRAILERS = DiscardedTrailers()


@dataclass(frozen=True)
class ReceiveTimeouts:
    """How slowly a request may arrive."""

    head_s: float = 5.0  # until the head is complete
    body_s: float = 60.0  # from then until the body is complete
    min_rate: float = 16_384.0  # bytes per second, averaged over ``rate_window_s``
    rate_window_s: float = 10.0


class Stage(Enum):
    """What a connection is receiving."""

    HEAD = "head"  # the head of a request, or the server waits for the first one
    BODY = "body"
    NONE = "none"  # the request is complete: a response is due, or the next request may follow


class HttpProtocol(HttpToolsProtocol):
    """One connection. Pass it to uvicorn's setting ``http``, with its limits in a ``functools.partial``.

    There are no timers for a request. The server calls ``check`` for each connection twice a second, and a stage starts
    when ``check`` first sees it.
    """

    def __init__(
        self, *args: Any, timeouts: ReceiveTimeouts = ReceiveTimeouts(), max_connections: int = 8192, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._timeouts, self._max_connections = timeouts, max_connections
        self._stage, self._stage_number = Stage.HEAD, 0  # the number tells one stage from the next
        self._received = 0  # bytes
        self._head_start = 0  # value of ``_received`` when the head started
        self._timed_stage = -1  # number of the stage that ``_stage_started`` and ``_progress`` are about
        self._stage_started = 0.0
        self._progress: deque[tuple[float, int]] = deque()  # time and ``_received`` at each check in the rate window
        self._unread_since: float | None = None
        self._service: Any = self.app_state.get("service")
        self._refused_by_shedder = False  # the current request, whose body is then skipped

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        if len(self.connections) > self._max_connections:
            self._refuse(503, "connections")

    def connection_lost(self, exc: Exception | None) -> None:
        cycle = self.cycle
        super().connection_lost(exc)
        self._cancel(cycle, CLIENT_DISCONNECTED)
        while self.pipeline:
            self._cancel(self.pipeline.pop()[0], CLIENT_DISCONNECTED)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)
        if self._stage is Stage.HEAD and self._received - self._head_start > MAX_HEAD_BYTES:
            self._refuse(431, "head")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._stage, self._stage_number, self._head_start = Stage.HEAD, self._stage_number + 1, self._received

    def on_headers_complete(self) -> None:
        if not self._shed_request():
            super().on_headers_complete()
        self._stage, self._stage_number = Stage.BODY, self._stage_number + 1
        self.headers = DISCARDED_TRAILERS
        if self._service and self._service.draining and self.cycle:
            self.cycle.keep_alive = False

    def _shed_request(self) -> bool:
        """Refuse the request if the service is full. Return whether it was refused."""
        self._refused_by_shedder = False
        service = self._service
        if service is None or service.shed_request is None or service.draining or self.expect_100_continue:
            return False
        if self.cycle is not None and not self.cycle.response_complete:  # an earlier response is due first
            return False
        refusal = service.shed_request(self.parser.get_method(), self.url, self.headers, self.client)
        if refusal is None:
            return False
        lines, body = refusal
        self._refused_by_shedder = True
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        response = format_response(503, format_headers(self.server_state.default_headers) + lines, body, keep_alive)
        # In the next iteration of the event loop: libuv keeps reading while much data arrives. Clients that are refused
        # and retry within one iteration would stop all other work for seconds.
        self.loop.call_soon(self._send_refusal, response, keep_alive)
        return True

    def _send_refusal(self, response: bytes, keep_alive: bool) -> None:
        if not self.transport.is_closing():
            self.transport.write(response)
            if not keep_alive:
                self.transport.close()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Start the task of a request, and keep the task so that it can be cancelled."""
        cycle.__class__ = RequestCycle  # the only way: uvicorn creates its own class by name
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        cycle.scope["state"]["task"] = task

    def on_body(self, body: bytes) -> None:
        """Store a part of a body. Wake the app only when the body is complete or the buffer is full."""
        if self._refused_by_shedder or self.cycle.response_complete:
            return
        self.cycle.body += body
        if len(self.cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        if not self._refused_by_shedder:
            super().on_message_complete()
        self._stage, self._head_start = Stage.NONE, self._received

    def on_response_complete(self) -> None:
        """Start the next request. Unlike uvicorn, set no keep-alive timer: ``check`` closes idle connections."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "malformed")

    @property
    def is_new(self) -> bool:
        """Whether no byte has arrived yet."""
        return not self._received

    @property
    def is_busy(self) -> bool:
        """Whether a request is in progress: its body is arriving, or its response is not complete."""
        return bool(self.cycle and not self.cycle.response_complete) or self._stage is Stage.BODY

    def check(self, now: float) -> None:
        """Close the connection if the client sends too slowly, leaves a response unread or is idle for too long."""
        if self.transport.is_closing():
            return
        if not self.flow.write_paused:
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        elif now - self._unread_since > MAX_UNREAD_S:
            self.transport.abort()
            return
        stage = self._stage
        response_sent = self.cycle is None or self.cycle.response_complete
        if stage is Stage.NONE and self._received > self._head_start:
            stage = Stage.HEAD  # line feeds arrived instead of a request
        if self.flow.read_paused or (stage is Stage.NONE and not response_sent):
            self._timed_stage = -1
            return
        if self._timed_stage != self._stage_number:
            self._timed_stage = self._stage_number
            self._stage_started = now
            self._progress.clear()
        if stage is Stage.NONE:
            if now - self._stage_started >= self.timeout_keep_alive and not self._has_unread_bytes():
                self.transport.close()
            return
        window_s = self._timeouts.rate_window_s
        self._progress.append((now, self._received))
        window_start, received_before = self._progress[0]
        if now - window_start >= window_s:
            self._progress.popleft()
        if stage is Stage.HEAD:
            if now - self._stage_started >= self._timeouts.head_s:
                if self.is_new:  # opened ahead of need, as browsers do: the client would take a 408 for its response
                    self.transport.close()
                else:
                    self._refuse(408, "slow")
        elif now - self._stage_started >= self._timeouts.body_s or (
            now - window_start >= window_s and self._received - received_before < self._timeouts.min_rate * window_s
        ):
            if not response_sent and self._cancel(self.cycle, BODY_TOO_SLOW):
                return  # the RequestLog middleware sends the 408
            self.transport.close()

    def _has_unread_bytes(self) -> bool:
        """Return whether the socket has bytes that were not read yet.

        When the event loop is busy, a request may have reached an idle connection and not been read yet. Closing the
        connection would lose it.
        """
        count = array("i", [0])
        fcntl.ioctl(self.transport.get_extra_info("socket"), termios.FIONREAD, count)
        return bool(count[0])

    def _refuse(self, status: int, reason: str) -> None:
        """Answer a connection that sent no valid or complete request, and close it."""
        if self.transport.is_closing():
            return
        if self._service:
            self._service.metrics.count_rejection(reason)
        self.transport.write(connection_problem(status))
        self.transport.close()

    def _cancel(self, cycle: Any, reason: str) -> bool:
        """Cancel the task of a request whose response has not started. Return whether there was one."""
        if cycle is None or cycle.response_complete or cycle.response_started:
            return False
        task = cycle.scope["state"].get("task")
        return bool(task and task.cancel(reason))
