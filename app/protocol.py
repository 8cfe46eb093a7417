"""uvicorn's HTTP, with what it leaves to others: how slowly a request may come, how large its head may be, and that
nobody works for a client that has gone.

The head and the body of an answer are one write: uvicorn hands them to the transport one after the other, and uvloop
makes a system call of each, a tenth of what an answer costs. Knows nothing of what is answered, but to those whose
request never becomes one.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.observe import GONE, SLOW
from app.problems import unheard

MAX_HEAD = 65_536  # bytes of a request's head, give or take a packet
WINDOW = 10.0  # seconds over which the rate of a body is taken
UNREAD = 60.0  # seconds for which a client may leave an answer unread


class Gathering:
    """A transport that keeps the head of an answer until its body comes, or until the event loop has turned."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/") and data.endswith(b"\r\n\r\n"):
            self._head = data
            self._loop.call_soon(self._flush)
            return
        self._write(data)

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._write(head)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():  # uvloop's raises if the client has gone, a turn before uvicorn is told
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        """All else is the transport's own."""
        return getattr(self._transport, name)


class Nowhere(list[tuple[bytes, bytes]]):
    """Where the headers go that follow a chunked body: nobody asks for them, and there may be no end of them."""

    def append(self, header: tuple[bytes, bytes]) -> None:
        pass


@dataclass(frozen=True)
class Patience:
    """How slowly a request may come, and how many connections there may be."""

    head: float = 5.0  # seconds until its head is there
    body: float = 60.0  # and from then until its end
    rate: float = 16_384.0  # bytes a second at least, over any ``WINDOW``
    connections: int = 8192


class Stage(Enum):
    """What a connection is doing, as far as receiving goes."""

    HEAD = "head"  # a request's head comes, or ought to
    BODY = "body"
    NONE = "none"  # a request is complete; an answer is due, or the next request if there is one


class Protocol(HttpToolsProtocol):
    """For uvicorn's setting ``http``, with ``functools.partial`` for its patience.

    Time is not taken for each request: the server looks at all connections twice a second (``look``), and a stage
    begins when it is first seen.
    """

    def __init__(self, *arguments: Any, patience: Patience = Patience(), **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._patience = patience
        self._stage, self._number = Stage.HEAD, 0  # the number tells stages apart
        self._received = 0  # bytes
        self._head_from = 0  # bytes that had come when the head began
        self._seen = -1  # number of the stage that is timed
        self._marks: deque[tuple[float, int]] = deque()  # of that stage: when it was looked at, bytes by then
        self._unread_since: float | None = None
        self._service: Any = self.app_state.get("service")
        self._shedding = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(Gathering(transport, self.loop))  # type: ignore[arg-type]  # it is one in all that is used
        if len(self.connections) > self._patience.connections:
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
        if self._stage is Stage.HEAD and self._received - self._head_from > MAX_HEAD:
            self._refuse(431, "head")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._stage, self._number, self._head_from = Stage.HEAD, self._number + 1, self._received

    def on_headers_complete(self) -> None:
        if not self._shed():
            super().on_headers_complete()
        self._stage, self._number = Stage.BODY, self._number + 1
        self.headers = Nowhere()
        if self._service and self._service.draining and self.cycle:
            self.cycle.keep_alive = False

    def _shed(self) -> bool:
        """Answer a request that there is no room for, if it is one; what is left of it is passed over."""
        self._shedding = False
        service = self._service
        if service is None or service.shed is None or service.draining or self.expect_100_continue:
            return False
        if self.cycle is not None and not self.cycle.response_complete:  # answers go in order, and this one is later
            return False
        refusal = service.shed(self.parser.get_method(), self.url, self.headers, self.client)
        if refusal is None:
            return False
        headers, body = refusal
        self._shedding = True
        lines = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        keep = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        answer = b"".join((STATUS_LINE[503], *lines, b"\r\n" if keep else b"connection: close\r\n\r\n", body))
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
        elif now - self._unread_since > UNREAD:
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
            if now - self._started >= self.timeout_keep_alive:
                self.transport.close()
            return
        self._marks.append((now, self._received))
        since, received = self._marks[0]
        if now - since >= WINDOW:
            self._marks.popleft()
        if stage is Stage.HEAD:
            if now - self._started >= self._patience.head:
                if self.is_new:  # made ahead of need, as browsers do: an answer would be taken for that to a request
                    self.transport.close()
                else:
                    self._refuse(408, "slow")
        elif now - self._started >= self._patience.body or (
            now - since >= WINDOW and self._received - received < self._patience.rate * WINDOW
        ):
            if not answered and self._cancel(self.cycle, SLOW):
                return  # it is answered where all are
            self.transport.close()

    def _refuse(self, status: int, reason: str) -> None:
        """Answer what is no request, or never was one, and close."""
        if self.transport.is_closing():
            return
        if self._service:
            self._service.metrics.rejected(reason)
        self.transport.write(unheard(status))
        self.transport.close()

    def _cancel(self, cycle: Any, reason: str) -> bool:
        """Stop the work on a request that was not answered."""
        if cycle is None or cycle.response_complete or cycle.response_started:
            return False
        task = cycle.scope["state"].get("task")
        return bool(task and task.cancel(reason))
