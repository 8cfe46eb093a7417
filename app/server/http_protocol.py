"""uvicorn's HTTP, with what it leaves to others: how slowly a request may come, how large its head may be, and that
nobody works for a client that has gone.

The head and the body of an answer are one write: uvicorn hands them to the transport one after the other, and uvloop
makes a system call of each, a tenth of what an answer costs. Knows nothing of what is answered, but to those whose
request never becomes one.
"""

import asyncio
import fcntl
import re
import termios
from array import array
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.http.middleware.request_log import GONE, SLOW
from app.http.problems import connection_problem

MAX_HEAD_BYTES = 65_536  # bytes of a request's head, give or take a packet
RATE_WINDOW_S = 10.0  # seconds over which the rate of a body is taken
MAX_UNREAD_S = 60.0  # seconds for which a client may leave an answer unread

# Headers in which there is nothing that uvicorn would object to, and nothing that it would have to see to.
PLAIN_LINES = re.compile(rb"(?:(?!connection:|transfer-encoding:)[a-z0-9-]+: [^\x00-\x08\x0a-\x1f\x7f]*\r\n)*")


class RequestCycle(RequestResponseCycle):
    """uvicorn's request and answer, but that the head of an answer waits for its body, and that the headers of one
    which is all there are checked together."""

    _head: dict[str, Any] | None = None

    async def send(self, message: Any) -> None:
        if self.transport.is_closing():  # the client has gone, and uvicorn is told in a turn of the loop
            self.disconnected = True
        elif message["type"] == "http.response.start" and not self.response_started:
            self._head = message
        else:
            if head := self._head:
                self._head = None
                if message["type"] == "http.response.body" and self._send_whole(head, message):
                    return
                await super().send(head)  # type: ignore[arg-type]  # uvicorn's types of messages are its own
            await super().send(message)

    def _send_whole(self, head: dict[str, Any], message: dict[str, Any]) -> bool:
        """Send an answer that is all there, as most are; False, with nothing done, if it is anything else."""
        headers, body = list(head.get("headers", ())), message.get("body", b"")
        if (
            message.get("more_body")
            or self.flow.write_paused
            or self.scope["method"] == "HEAD"
            or (b"content-length", b"%d" % len(body)) not in headers
        ):
            return False
        lines = written(headers)
        if not PLAIN_LINES.fullmatch(lines) or lines.count(b"\n") != len(headers):
            return False
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.write(whole(head["status"], written(self.default_headers) + lines, body, self.keep_alive))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True


def written(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as lines."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def whole(status: int, lines: bytes, body: bytes, keep_alive: bool) -> bytes:
    """An answer, from its first byte to its last."""
    return b"".join((STATUS_LINE[status], lines, b"\r\n" if keep_alive else b"connection: close\r\n\r\n", body))


class DiscardedTrailers(list[tuple[bytes, bytes]]):
    """Discards the trailers of a chunked body: nobody reads them, and they may be endless."""

    def append(self, header: tuple[bytes, bytes]) -> None:
        pass


DISCARDED_TRAILERS = DiscardedTrailers()


@dataclass(frozen=True)
class ReceiveTimeouts:
    """How slowly a request may arrive."""

    head_s: float = 5.0  # seconds until the head is complete
    body_s: float = 60.0  # seconds from then until the body is complete
    min_rate: float = 16_384.0  # bytes per second, averaged over ``RATE_WINDOW_S``


class Stage(Enum):
    """What a connection is doing, as far as receiving goes."""

    HEAD = "head"  # a request's head comes, or ought to
    BODY = "body"
    NONE = "none"  # a request is complete; an answer is due, or the next request if there is one


class HttpProtocol(HttpToolsProtocol):
    """For uvicorn's setting ``http``, with ``functools.partial`` for its patience.

    Time is not taken for each request: the server looks at all connections twice a second (``look``), and a stage
    begins when it is first seen.
    """

    def __init__(
        self, *arguments: Any, timeouts: ReceiveTimeouts = ReceiveTimeouts(), max_connections: int = 8192, **more: Any
    ) -> None:
        super().__init__(*arguments, **more)
        self._timeouts, self._max_connections = timeouts, max_connections
        self._stage, self._number = Stage.HEAD, 0  # the number tells stages apart
        self._received = 0  # bytes
        self._head_from = 0  # bytes that had come when the head began
        self._seen = -1  # number of the stage that is timed
        self._marks: deque[tuple[float, int]] = deque()  # of that stage: when it was looked at, bytes by then
        self._unread_since: float | None = None
        self._service: Any = self.app_state.get("service")
        self._shedding = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > self._max_connections:
            self._refuse(503, "connections")

    def connection_lost(self, exc: Exception | None) -> None:
        cycle = self.cycle
        super().connection_lost(exc)
        self._cancel(cycle, GONE)
        while self.pipeline:
            self._cancel(self.pipeline.pop()[0], GONE)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        super().data_received(data)
        if self._stage is Stage.HEAD and self._received - self._head_from > MAX_HEAD_BYTES:
            self._refuse(431, "head")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._stage, self._number, self._head_from = Stage.HEAD, self._number + 1, self._received

    def on_headers_complete(self) -> None:
        if not self._shed():
            super().on_headers_complete()
        self._stage, self._number = Stage.BODY, self._number + 1
        self.headers = DISCARDED_TRAILERS
        if self._service and self._service.draining and self.cycle:
            self.cycle.keep_alive = False

    def _shed(self) -> bool:
        """Answer a request that there is no room for, if it is one; what is left of it is passed over."""
        self._shedding = False
        service = self._service
        if service is None or service.shed_request is None or service.draining or self.expect_100_continue:
            return False
        if self.cycle is not None and not self.cycle.response_complete:  # answers go in order, and this one is later
            return False
        refusal = service.shed_request(self.parser.get_method(), self.url, self.headers, self.client)
        if refusal is None:
            return False
        lines, body = refusal
        self._shedding = True
        keep = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        answer = whole(503, written(self.server_state.default_headers) + lines, body, keep)
        # Not at once: libuv goes on reading for as long as there is much to read, so that clients which are refused and
        # ask again within the same turn of the loop would keep all work from being done, for seconds.
        self.loop.call_soon(self._send_refusal, answer, keep)
        return True

    def _send_refusal(self, answer: bytes, keep: bool) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            if not keep:
                self.transport.close()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Start the work on a request, and keep hold of it for the day that it is to be stopped."""
        cycle.__class__ = RequestCycle  # there is no other way in: uvicorn names its own where it makes one
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        cycle.scope["state"]["task"] = task

    def on_body(self, body: bytes) -> None:
        """Keep a part of a body. The app is woken when there is much of it, or all: not for each byte that comes."""
        if self._shedding or self.cycle.response_complete:
            return
        self.cycle.body += body
        if len(self.cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        if not self._shedding:
            super().on_message_complete()
        self._stage, self._head_from = Stage.NONE, self._received

    def on_response_complete(self) -> None:
        """Go on with the next request. No timer is set until it comes, as uvicorn would: ``look`` sees to that."""
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
        """Whether nothing has come on it yet."""
        return not self._received

    @property
    def waits_for_answer(self) -> bool:
        """Whether a request is under way on it, or a part of one has come."""
        return bool(self.cycle and not self.cycle.response_complete) or self._stage is Stage.BODY

    def look(self, now: float) -> None:
        """Close the connection if what it sends comes too slowly, or what it is sent is not read."""
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
        answered = self.cycle is None or self.cycle.response_complete
        if stage is Stage.NONE and self._received > self._head_from:
            stage = Stage.HEAD  # line feeds came instead of a request
        if self.flow.read_paused or (stage is Stage.NONE and not answered):
            self._seen = -1
            return
        if self._seen != self._number:
            self._seen = self._number
            self._started = now
            self._marks.clear()
        if stage is Stage.NONE:
            if now - self._started >= self.timeout_keep_alive and not self._has_unread():
                self.transport.close()
            return
        self._marks.append((now, self._received))
        since, received = self._marks[0]
        if now - since >= RATE_WINDOW_S:
            self._marks.popleft()
        if stage is Stage.HEAD:
            if now - self._started >= self._timeouts.head_s:
                if self.is_new:  # made ahead of need, as browsers do: an answer would be taken for that to a request
                    self.transport.close()
                else:
                    self._refuse(408, "slow")
        elif now - self._started >= self._timeouts.body_s or (
            now - since >= RATE_WINDOW_S and self._received - received < self._timeouts.min_rate * RATE_WINDOW_S
        ):
            if not answered and self._cancel(self.cycle, SLOW):
                return  # it is answered where all are
            self.transport.close()

    def _has_unread(self) -> bool:
        """Whether more has come than was read: in a busy loop the request that ends an idle time may wait for its turn,
        and would be lost."""
        count = array("i", [0])
        fcntl.ioctl(self.transport.get_extra_info("socket"), termios.FIONREAD, count)
        return bool(count[0])

    def _refuse(self, status: int, reason: str) -> None:
        """Answer what is no request, or never was one, and close."""
        if self.transport.is_closing():
            return
        if self._service:
            self._service.metrics.count_rejection(reason)
        self.transport.write(connection_problem(status))
        self.transport.close()

    def _cancel(self, cycle: Any, reason: str) -> bool:
        """Stop the work on a request that was not answered."""
        if cycle is None or cycle.response_complete or cycle.response_started:
            return False
        task = cycle.scope["state"].get("task")
        return bool(task and task.cancel(reason))
