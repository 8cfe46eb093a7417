"""HTTP/1.1 on one connection: httptools parses, the ASGI app answers, one request at a time.

uvicorn creates one of these for each connection (its public setting ``http``). Beyond what uvicorn's own protocol does,
this one limits the time and the size of what it receives, cancels the work for a client that is gone, and closes a
connection in a way that lets the client read the response first.
"""

import asyncio
import re
import select
from collections import deque
from typing import Any

import httptools
import uvicorn

from app.http.middleware.request_log import BODY_TOO_SLOW, CLIENT_DISCONNECTED
from app.http.paths import HEALTH_PATHS
from app.http.problems import connection_problem
from app.server.exchange import AsgiApp, Exchange, format_head, make_scope
from app.server.stages import ReceiveTimeouts, Stage, StageClock

HEALTH_CONNECTIONS = 64  # beyond the maximum: they may only ask for health
MAX_HEAD_BYTES = 65_536  # of a request; checked after each packet
MAX_UNREAD_S = 60.0  # for which a client may leave a response unread
# After the last response, what still arrives is read and discarded within these limits. Closing a socket that has
# unread bytes resets the connection, and the client may lose the response (RFC 9112, 9.6).
LINGER_S = 2.0
LINGER_BYTES = 16_000_000

# RFC 9110, 7.2: a name or an address, and perhaps a port. An empty one is valid, too.
VALID_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
DEFAULT_TIMEOUTS = ReceiveTimeouts()
FRAMING = (b"content-length", b"transfer-encoding")


class StopParsingError(Exception):
    """Raised in a callback, it makes httptools stop. Without another answer, the request gets 400."""


class HttpProtocol(asyncio.Protocol):
    """One connection. Pass it to uvicorn's setting ``http``, with its limits in a ``functools.partial``."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: uvicorn.server.ServerState,
        app_state: dict[str, Any],
        *,
        timeouts: ReceiveTimeouts = DEFAULT_TIMEOUTS,
        max_connections: int = 8192,
        **_: Any,
    ) -> None:
        self._app: AsgiApp = config.loaded_app
        self._root_path, self._keep_alive_s = config.root_path, config.timeout_keep_alive
        self._server_state, self._app_state = server_state, app_state
        self._service: Any = app_state.get("service")
        self._timeouts, self._max_connections = timeouts, max_connections
        self._parser = httptools.HttpRequestParser(self)
        # The request that is being received.
        self._url, self._headers = b"", list[tuple[bytes, bytes]]()
        self._receiving: Exchange | None = None  # gets the body; None if the body is discarded
        self._framing = b""  # header lines that say how the body of a request with ``Upgrade`` is framed
        self._resuming = False  # parses such a body
        # Requests are answered one after the other.
        self._current: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._refusal = b""  # the answer to what arrived last, which is no request: nothing more is parsed
        self._reading, self._writing = True, True
        self._drained = asyncio.Event()
        self._clock = StageClock(timeouts)
        self._unread_since: float | None = None

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # no other kind is used
        self._transport = transport
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # any protocol with ``shutdown`` will do
        address, peer = (transport.get_extra_info(name) for name in ("sockname", "peername"))
        self._server = (str(address[0]), int(address[1])) if isinstance(address, tuple) else None
        self._client = (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None
        excess = len(self._server_state.connections) - self._max_connections
        self._only_health = excess > 0
        if excess > HEALTH_CONNECTIONS:
            self._refuse(503, "connections")

    def connection_lost(self, error: Exception | None) -> None:
        self._server_state.connections.discard(self)
        self._drained.set()
        for exchange in (self._due_response, *self._waiting):
            if exchange:
                exchange.disconnect(CLIENT_DISCONNECTED)
        self._waiting.clear()

    def pause_writing(self) -> None:
        self._writing = False
        self._drained.clear()

    def resume_writing(self) -> None:
        self._writing = True
        self._drained.set()

    def shutdown(self) -> None:
        """Close the connection after the response that is due. uvicorn calls this when it stops."""
        if response := self._due_response:
            response.keep_alive = False
        else:
            self._transport.close()

    @property
    def is_new(self) -> bool:
        """Whether no byte has arrived yet."""
        return not self._clock.received

    @property
    def is_busy(self) -> bool:
        """Whether a request is in progress: its body is arriving, or its response is not complete."""
        return self._due_response is not None or self._clock.stage is Stage.BODY

    @property
    def _due_response(self) -> Exchange | None:
        """The request that is being answered, if any."""
        return None if self._current is None or self._current.response_complete else self._current

    # Receiving

    def data_received(self, data: bytes) -> None:
        self._clock.received += len(data)
        if self._clock.stage is Stage.REST or self._refusal:
            if self._clock.received_in_stage > LINGER_BYTES:
                self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, "malformed")
        if self._clock.stage is Stage.HEAD and self._clock.received_in_stage > MAX_HEAD_BYTES:
            self._refuse(431, "head")

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read on after a head with ``Upgrade``: a server may ignore it (RFC 9110, 7.8).

        httptools ends such a request at its head. Its body would be taken for the next request. So a new parser gets a
        head that only frames the body, and then the rest.
        """
        if self._refusal:
            return
        self._parser = httptools.HttpRequestParser(self)
        self._resuming = bool(self._framing)
        head = b"POST / HTTP/1.1\r\n%b\r\n" % self._framing if self._framing else b""
        self._clock.received -= len(head) + len(rest)  # only the rest arrived, and it was counted
        self.data_received(head + rest)

    def on_message_begin(self) -> None:
        if not self._resuming:
            self._url, self._headers = b"", []
            self._clock.begin(Stage.HEAD)

    def on_url(self, url: bytes) -> None:
        if not self._resuming:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._clock.stage is Stage.HEAD:  # later ones are trailers, which nothing reads
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._resuming:
            self._resuming = False
            return
        version, method = self._parser.get_http_version(), self._parser.get_method()
        hosts = [value for name, value in self._headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and version == "1.1") or not all(VALID_HOST.fullmatch(host) for host in hosts):
            raise StopParsingError
        self._framing = b""
        if self._parser.should_upgrade():
            self._framing = b"".join(b"%b: %b\r\n" % header for header in self._headers if header[0] in FRAMING)
        self._clock.begin(Stage.BODY)
        keep_alive = version == "1.1" and self._parser.should_keep_alive() and method != b"CONNECT"
        expects_continue = (b"expect", b"100-continue") in self._headers
        self._receiving = None
        if not expects_continue and self._shed_request(method, keep_alive):
            return
        if self._only_health and self._url.partition(b"?")[0].decode("latin-1") not in HEALTH_PATHS:
            self._refuse(503, "connections")
            raise StopParsingError
        try:
            scope = make_scope(self._url, method, version, self._headers, self._root_path)
        except httptools.HttpParserInvalidURLError:
            raise StopParsingError from None
        scope["server"], scope["client"], scope["state"] = self._server, self._client, self._app_state.copy()
        keep_alive &= not (self._only_health or (self._service and self._service.draining))
        exchange = self._receiving = Exchange(self, scope, keep_alive, expects_continue)
        if self._due_response:
            self._waiting.append(exchange)
            self.update_reading()
        else:
            self._start(exchange)

    def on_body(self, body: bytes) -> None:
        if self._receiving:
            self._receiving.feed(body)
            if self._receiving.buffer_is_full:
                self.update_reading()

    def on_message_complete(self) -> None:
        if self._framing and self._parser.should_upgrade():
            return  # the body follows
        if self._receiving:
            self._receiving.complete_body()
            self._receiving = None
        self._clock.begin(Stage.NONE)

    def _shed_request(self, method: bytes, keep_alive: bool) -> bool:
        """Refuse the request if the service is full. Return whether it was refused. Its body is then discarded."""
        service = self._service
        if service is None or service.shed_request is None or service.draining or self._due_response:
            return False  # a response that is due must come first
        refusal = service.shed_request(method, self._url, self._headers, self._client)
        if refusal is None:
            return False
        lines, body = refusal
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
        wanted = not (self._waiting or (self._receiving and self._receiving.buffer_is_full))
        if wanted != self._reading and not self._transport.is_closing():
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # Answering

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._clock.stage is Stage.REST or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send bytes, unless the connection is closing."""
        if not self.is_closing:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has read enough of what was sent."""
        if not self._writing:
            await self._drained.wait()

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def format_default_headers(self) -> bytes:
        """Return the header lines that every response has: the date."""
        return b"".join([b"%b: %b\r\n" % header for header in self._server_state.default_headers])

    def _start(self, exchange: Exchange) -> None:
        """Start the task that answers a request."""
        self._current = exchange
        exchange.task = task = asyncio.get_running_loop().create_task(exchange.run(self._app))
        exchange.scope["state"]["task"] = task
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    def on_response_complete(self) -> None:
        """Go on with the next request, or close."""
        self._server_state.total_requests += 1
        if self._current and not self._current.keep_alive:
            self._close()
            return
        if self._waiting:
            self._start(self._waiting.popleft())
        elif self._refusal:
            self.write(self._refusal)
            self._close()
            return
        self.update_reading()

    def _refuse(self, status: int, reason: str) -> None:
        """Refuse an invalid or incomplete request, after the responses to earlier ones, and close the connection."""
        if self.is_closing or self._refusal:
            return
        self._refusal = connection_problem(status)
        if self._service:
            self._service.metrics.count_rejection(reason)
        last = self._waiting[-1] if self._waiting else self._due_response
        if last and last is not self._receiving:
            return  # on_response_complete sends it
        if self._receiving and not self._receiving.response_complete:  # its body is malformed
            if self._receiving.response_started or self._waiting:
                self._transport.abort()
                return
            self._receiving.disconnect(CLIENT_DISCONNECTED)
        self.write(self._refusal)
        self._close()

    def _close(self) -> None:
        """Close the connection. If more of a request may arrive, tell the client first, and discard it."""
        if self._transport.is_closing():
            return
        if self._clock.stage is not Stage.BODY and not self._refusal:
            self._transport.close()
            return
        self._transport.write_eof()
        self._clock.begin(Stage.REST)
        self._waiting.clear()
        self._receiving = None
        self.update_reading()

    # Time limits

    def check(self, now: float) -> None:
        """Close the connection if the client sends too slowly, leaves a response unread or is idle for too long.

        The server calls this twice a second.
        """
        if self._transport.is_closing():
            return
        if self._writing:
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        elif now - self._unread_since > MAX_UNREAD_S:
            self._transport.abort()
            return
        clock, stage = self._clock, self._clock.stage
        if stage is Stage.NONE and clock.received_in_stage:
            stage = Stage.HEAD  # line feeds arrived instead of a request
        if not self._reading or (stage is Stage.NONE and self._due_response):
            clock.restart()
        elif stage is Stage.NONE:
            if clock.elapsed(now) >= self._keep_alive_s and not self._has_unread_bytes():
                self._transport.close()
        elif stage is Stage.REST:
            if clock.elapsed(now) >= LINGER_S:
                self._transport.close()
        elif stage is Stage.HEAD:
            if clock.elapsed(now) >= self._timeouts.head_s:
                if self.is_new:  # opened ahead of need, as browsers do: the client would take a 408 for its response
                    self._transport.close()
                else:
                    self._refuse(408, "slow")
        elif clock.is_slow(now) and not (self._due_response and self._due_response.cancel(BODY_TOO_SLOW)):
            self._close()  # otherwise the RequestLog middleware sends the 408

    def _has_unread_bytes(self) -> bool:
        """Return whether something has arrived that the busy event loop has not read. Closing would lose a request."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))
