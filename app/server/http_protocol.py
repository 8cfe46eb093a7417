"""HTTP/1.1 on one connection: httptools parses, the ASGI app answers, one request at a time.

uvicorn creates one of these for each connection (its public setting ``http``). Beyond what uvicorn's own protocol does,
this one limits the time and the size of what it receives, cancels the work for a client that is gone, and closes a
connection in a way that lets the client read the response first.
"""

import asyncio
import select
from typing import Any

import httptools
import uvicorn

from app.http.middleware.request_log import BODY_TOO_SLOW, CLIENT_DISCONNECTED
from app.http.paths import HEALTH_PATHS
from app.http.problems import connection_problem
from app.server.exchange import HIGH_WATER_BYTES, Exchange, RequestHead, format_head
from app.server.read_queue import ReadQueue
from app.server.request_parser import RequestParser, StopParsingError
from app.server.request_queue import RequestQueue
from app.server.sending import SendingProtocol
from app.server.stages import ReceiveTimeouts, Stage, StageClock

HEALTH_CONNECTIONS = 64  # beyond the maximum: they may only ask for health
MAX_HEAD_BYTES = 65_536  # of a request; checked after each packet
# After the last response, what still arrives is read and discarded within these limits. Closing a socket that has
# unread bytes resets the connection, and the client may lose the response (RFC 9112, 9.6).
LINGER_S = 2.0
LINGER_BYTES = 16_000_000

DEFAULT_TIMEOUTS = ReceiveTimeouts()


class HttpProtocol(SendingProtocol):
    """One connection. Pass it to uvicorn's setting ``http``, with its limits in a ``functools.partial``."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: uvicorn.server.ServerState,
        app_state: dict[str, Any],
        *,
        timeouts: ReceiveTimeouts = DEFAULT_TIMEOUTS,
        max_connections: int = 8192,
        read_queue: ReadQueue | None = None,
        **_: Any,
    ) -> None:
        super().__init__(server_state)
        self._config, self._app_state = config, app_state
        self._service: Any = app_state.get("service")
        # None if a middleware must see every request
        self._direct_answers, self._shed = app_state.get("direct_answers"), app_state.get("load_shedder")
        self._timeouts, self._max_connections = timeouts, max_connections
        self._parser = RequestParser(self)
        self._read_queue = read_queue or ReadQueue()
        self._unparsed = b""  # waits in that queue
        self._receiving: Exchange | None = None  # gets the body that is being received; None if that is discarded
        self._refusal = b""  # the answer to what arrived last, which is no request: nothing more is parsed
        self._reading = True
        self._clock = StageClock(timeouts)

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # no other kind is used
        self.transport = transport
        self.server_state.connections.add(self)  # type: ignore[arg-type]  # any protocol with ``shutdown`` will do
        address, peer = (transport.get_extra_info(name) for name in ("sockname", "peername"))
        server = (str(address[0]), int(address[1])) if isinstance(address, tuple) else None
        self.client = (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None
        self._requests = RequestQueue(
            self._config.loaded_app, self._config.root_path, self._app_state, self.server_state.tasks, server
        )
        excess = len(self.server_state.connections) - self._max_connections
        self._only_health = excess > 0
        if excess > HEALTH_CONNECTIONS:
            self._refuse(503, "connections")

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.server_state.connections.discard(self)
        self._requests.disconnect()

    def shutdown(self) -> None:
        """Close the connection after the response that is due. uvicorn calls this when it stops."""
        if response := self._requests.due:
            response.keep_alive = False
        else:
            self.transport.close()

    @property
    def is_new(self) -> bool:
        """Whether no byte has arrived yet."""
        return not self._clock.received

    @property
    def is_busy(self) -> bool:
        """Whether a request is in progress: its body is arriving, or its response is not complete."""
        return self._requests.due is not None or self._clock.stage is Stage.BODY or self._unparsed != b""

    # Receiving

    def data_received(self, data: bytes) -> None:
        self._clock.received += len(data)
        if self.discards or self._refusal:
            if self._clock.received_in_stage > LINGER_BYTES:
                self.transport.abort()
            return
        if self._unparsed or self._read_queue.must_wait(data):
            if not self._unparsed:
                self._read_queue.add(self._parse_later)
            self._unparsed += data
            self.update_reading()
        else:
            self._parse(data)

    def _parse_later(self, refuse: bool) -> None:
        data, self._unparsed = self._unparsed, b""
        if not (self._refusal or self.is_closing):
            if self._service:
                self._service.admission.is_closed = refuse
            self._parse(data)
            if self._service:
                self._service.admission.is_closed = False
            self.update_reading()

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed(data)
        except httptools.HttpParserError:
            self._refuse(400, "malformed")
        if self._clock.stage is Stage.HEAD and self._clock.received_in_stage > MAX_HEAD_BYTES:
            self._refuse(431, "head")

    def on_begin(self) -> None:
        self._clock.begin(Stage.HEAD)

    def on_head(self, head: RequestHead, keep_alive: bool) -> None:
        if self.is_closing:  # this request came after one with ``Connection: close``
            raise StopParsingError
        self._clock.begin(Stage.BODY)
        self._receiving = None
        expects_continue = (b"expect", b"100-continue") in head.headers
        direct_answer = None
        if self._direct_answers and not expects_continue:
            direct_answer = self._direct_answers.find(head)
        is_direct = direct_answer and self._service.admission.room > 0
        if not (is_direct or expects_continue) and self._shed_request(head, keep_alive):
            return
        if self._only_health and head.url.partition(b"?")[0].decode("latin-1") not in HEALTH_PATHS:
            self._refuse(503, "connections")
            raise StopParsingError
        keep_alive &= not (self._only_health or (self._service and self._service.draining))
        exchange = self._receiving = Exchange(self, head, keep_alive, direct_answer, expects_continue)
        self._requests.add(exchange)
        self.update_reading()

    def on_body(self, body: bytes) -> None:
        if self._receiving:
            self._receiving.feed(body)
            if self._receiving.buffer_is_full:
                self.update_reading()

    def on_end(self) -> None:
        received, self._receiving = self._receiving, None
        self._clock.begin(Stage.NONE)
        if received:
            received.complete_body()
            self._requests.on_body_complete(received)

    def _shed_request(self, head: RequestHead, keep_alive: bool) -> bool:
        """Refuse the request if the service is full. Return whether it was refused. Its body is then discarded."""
        if self._shed is None or self._service.draining or self._requests.due:
            return False  # a response that is due must come first
        refusal = self._shed(head, self.client)
        if refusal is None:
            return False
        lines, body = refusal
        lines += b"content-length: %d\r\n" % len(body)
        response = format_head(503, self.format_default_headers() + lines, keep_alive) + body
        # In the next iteration of the event loop: libuv keeps reading while much data arrives. Clients that are refused
        # and retry within one iteration would stop all other work for seconds.
        asyncio.get_running_loop().call_soon(self._send_refusal, response, keep_alive)
        return True

    def _send_refusal(self, response: bytes, keep_alive: bool) -> None:
        self.write(response)
        if not keep_alive:
            self._close()

    def update_reading(self) -> None:
        """Read on, or stop reading: while requests wait, or while the app has to take a part of a body first."""
        is_full = len(self._unparsed) > HIGH_WATER_BYTES or (self._receiving and self._receiving.buffer_is_full)
        wanted = not (is_full or self._requests.waiting)
        if wanted != self._reading and not self.transport.is_closing():
            self._reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    # Answering

    def on_response_complete(self) -> None:
        """Go on with the next request, or close."""
        self.server_state.total_requests += 1
        if self._requests.current and not self._requests.current.keep_alive:
            self._close()
        elif self._refusal and not self._requests.waiting:
            self.write(self._refusal)
            self._close()
        else:
            self._requests.go_on()
            self.update_reading()

    def _refuse(self, status: int, reason: str) -> None:
        """Refuse an invalid or incomplete request, after the responses to earlier ones, and close the connection."""
        if self.is_closing or self._refusal:
            return
        self._refusal = connection_problem(status)
        if self._service:
            self._service.metrics.count_rejection(reason)
        last = self._requests.last
        if last and last is not self._receiving:
            return  # on_response_complete sends it
        if self._receiving and not self._receiving.response_complete:  # its body is malformed
            if self._receiving.response_started or self._requests.waiting:
                self.transport.abort()
                return
            self._receiving.disconnect(CLIENT_DISCONNECTED)
        self.write(self._refusal)
        self._close()

    def _close(self) -> None:
        """Close the connection. If more of a request may arrive, tell the client first, and discard it."""
        if self.transport.is_closing():
            return
        if self._clock.stage is not Stage.BODY and not self._refusal:
            self.transport.close()
            return
        self.transport.write_eof()
        self.discards = True
        self._clock.begin(Stage.REST)
        self._requests.waiting.clear()
        self._receiving = None
        self.update_reading()

    # Time limits

    def check(self, now: float) -> None:
        """Close the connection if the client sends too slowly, leaves a response unread or is idle for too long.

        The server calls this twice a second.
        """
        if self.transport.is_closing() or self._requests.leave_to_app():
            return
        if self.is_left_unread(now):
            self.transport.abort()
            return
        clock, stage = self._clock, self._clock.stage
        if stage is Stage.NONE and clock.received_in_stage:
            stage = Stage.HEAD  # line feeds arrived instead of a request
        if not self._reading or self._unparsed or (stage is Stage.NONE and self._requests.due):
            clock.restart()
        elif stage is Stage.REST:
            if clock.elapsed(now) >= LINGER_S:
                self.transport.close()
        elif self._is_late(stage, now) and not self._has_unread_bytes():
            self._time_out(stage)

    def _is_late(self, stage: Stage, now: float) -> bool:
        """Return whether a head, a body or the next request takes too long."""
        if stage is Stage.BODY:
            return self._clock.is_slow(now)
        limit_s = self._timeouts.head_s if stage is Stage.HEAD else self._config.timeout_keep_alive
        return self._clock.elapsed(now) >= limit_s

    def _time_out(self, stage: Stage) -> None:
        if stage is Stage.BODY:
            if not (self._requests.due and self._requests.due.cancel(BODY_TOO_SLOW)):
                self._close()  # otherwise the RequestLog middleware sends the 408
        elif stage is Stage.NONE or self.is_new:
            # Browsers open connections ahead of need. A client would take a 408 for the response to its first request.
            self.transport.close()
        else:
            self._refuse(408, "slow")

    def _has_unread_bytes(self) -> bool:
        """Return whether something has arrived that the busy event loop has not read."""
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))
