"""One request and its response: answered by the ASGI app, through ``receive`` and ``send``, or directly."""

import asyncio
import http
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import httptools

if TYPE_CHECKING:
    from app.server.http_protocol import HttpProtocol

logger = logging.getLogger(__name__)

# The types of ASGI.
Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
AsgiApp = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

HIGH_WATER_BYTES = 65_536  # of a body that the app has not received yet; above, the connection is not read
STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}
NO_BODY = frozenset({204, 304})
HEADER_LINES = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\x00-\x08\x0a-\x1f\x7f]*\r\n)*")


class RequestHead(NamedTuple):
    """The head of a request."""

    method: bytes
    url: bytes
    version: str  # of HTTP: 1.0 or 1.1
    headers: Headers  # with names in lower case


def make_scope(head: RequestHead, root_path: str) -> Scope:
    """Return the ASGI scope of a request, without its addresses and its state.

    Raises:
        httptools.HttpParserInvalidURLError: The URL is malformed.
    """
    parsed = httptools.parse_url(head.url)
    raw_path = parsed.path or b"/"
    path = raw_path.decode("ascii")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "scheme": "http",
        "method": head.method.decode("ascii"),
        "root_path": root_path,
        "path": root_path + (unquote(path) if "%" in path else path),
        "raw_path": root_path.encode() + raw_path,
        "query_string": parsed.query or b"",
        "headers": head.headers,
    }


DirectAnswer = Callable[["Exchange"], bool]
"""Answers a request whose body is complete. Returns False to leave it to the app."""


class Exchange:
    """A request whose head is complete, and its response.

    Args:
        direct_answer: Answers the request without the app, when its body is complete. It may leave it to the app.
        expects_continue: The client sends the body only after ``100 Continue``.
    """

    def __init__(
        self,
        connection: "HttpProtocol",
        head: RequestHead,
        keep_alive: bool,
        direct_answer: DirectAnswer | None = None,
        expects_continue: bool = False,
    ) -> None:
        self.head, self.keep_alive, self.direct_answer = head, keep_alive, direct_answer
        self.client = connection.client
        self.started_at = time.perf_counter()
        self.started = self.response_started = self.response_complete = self.body_complete = False
        self.work: asyncio.Future[Any] | None = None  # cancelled when the client disconnects
        self.body = bytearray()
        self._connection, self._expects_continue = connection, expects_continue
        self._body_taken = self._disconnected = False
        self._wakened: asyncio.Event | None = None
        self._head: Message | None = None  # the start of a response, until its body follows
        self._sends_body = True
        self._chunked = False
        self._missing_bytes: int | None = None  # of a response whose length is announced

    @property
    def buffer_is_full(self) -> bool:
        """Whether the app has to take a part of the body before more of it is read."""
        return len(self.body) > HIGH_WATER_BYTES and not self.response_complete

    def feed(self, data: bytes) -> None:
        """Add a part of the body. The app is woken only when the body is complete or the buffer is full."""
        if not self.response_complete:
            self.body += data
            if self.buffer_is_full:
                self._wake()

    def complete_body(self) -> None:
        """Let the app have the whole body."""
        self.body_complete = True
        self._wake()

    def disconnect(self, reason: str) -> None:
        """Tell the app that the client is gone."""
        self._disconnected = True
        self._wake()
        self.cancel(reason)

    def cancel(self, reason: str) -> bool:
        """Cancel the work for a request whose response has not started. Return whether there was any."""
        return not self.response_started and self.work is not None and self.work.cancel(reason)

    def _wake(self) -> None:
        if self._wakened:
            self._wakened.set()

    def respond(self, status: int, lines: bytes, body: bytes) -> None:
        """Send a complete response, unless the client has gone.

        Args:
            lines: The header lines, without the date. They are valid.
        """
        self.response_started = self.response_complete = True
        if self._disconnected or self._connection.is_closing:
            return
        lines += b"content-length: %d\r\n" % len(body)
        head = format_head(status, self._connection.format_default_headers() + lines, self.keep_alive)
        self._connection.write(head if self.head.method == b"HEAD" else head + body)
        self._connection.on_response_complete()

    async def run(self, app: AsgiApp, scope: Scope) -> None:
        """Let the app answer the request."""
        self._wakened = asyncio.Event()
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            logger.exception("The app failed.")
        if self.response_complete or self._disconnected or self._connection.is_closing:
            return
        logger.error("The app did not complete its response.")
        if self.response_started:
            self._connection.abort()
        else:
            self._head = {"status": 500, "headers": [(b"connection", b"close")]}
            await self._send_body(b"Internal Server Error", more=False)

    async def receive(self) -> Message:
        """Return the next part of the body: all of it, unless it is large. After it, wait until the client is gone."""
        assert self._wakened
        if self._expects_continue:
            self._expects_continue = False
            if not self.response_started and not self.body:
                self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (
            self._disconnected
            or self.response_complete
            or (not self._body_taken and (self.body_complete or self.buffer_is_full))
        ):
            self._wakened.clear()
            await self._wakened.wait()
        if self._disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = bytes(self.body), bytearray()
        self._body_taken = self.body_complete
        self._connection.update_reading()
        return {"type": "http.request", "body": body, "more_body": not self.body_complete}

    async def send(self, message: Message) -> None:
        """Send a part of the response. The head waits for the body, so that most responses are one write."""
        if self._connection.is_closing:  # the app learns only in the next iteration of the loop that the client is gone
            self._disconnected = True
        elif message["type"] == "http.response.start":
            self._head = message
        elif message["type"] == "http.response.body":
            await self._send_body(message.get("body", b""), message.get("more_body", False))

    async def _send_body(self, body: bytes, more: bool) -> None:
        data = b""
        if self._head:
            data = self._format_head(self._head, None if more else len(body))
        elif not self.response_started or self.response_complete:
            raise RuntimeError("A part of a response came before its start or after its end.")
        if self._sends_body:
            if self._missing_bytes is not None:
                self._missing_bytes -= len(body)
                if self._missing_bytes < 0 or (self._missing_bytes and not more):
                    raise RuntimeError("A response differs from its Content-Length.")
            if self._chunked:
                body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
            data += body
        self._head, self.response_started = None, True
        if data:
            self._connection.write(data)
        if more:
            await self._connection.drain()
            return
        self.response_complete = True
        self._wake()
        self._connection.on_response_complete()

    def _format_head(self, message: Message, length: int | None) -> bytes:
        """Return the head of a response, and set how its body is sent.

        Args:
            length: Of the body, if this is all of it.
        """
        status, lines, count = message["status"], b"", 0
        self._chunked, self._missing_bytes = False, None
        for name, value in message.get("headers", ()):
            if name == b"connection":
                self.keep_alive &= value.lower() != b"close"
            elif name != b"transfer-encoding":
                if name == b"content-length":
                    self._missing_bytes = int(value)
                lines += b"%b: %b\r\n" % (name, value)
                count += 1
        # The count finds a value that contains a second header.
        if not HEADER_LINES.fullmatch(lines) or lines.count(b"\n") != count:
            raise RuntimeError("A response has an invalid header.")
        self._sends_body = status not in NO_BODY and self.head.method != b"HEAD"
        if self._missing_bytes is None and status not in NO_BODY:
            if length is not None:
                lines += b"content-length: %d\r\n" % length
            elif self.head.version == "1.1":
                lines += b"transfer-encoding: chunked\r\n"
                self._chunked = True
            else:
                self.keep_alive = False  # the end of the connection is the end of the body
        return format_head(status, self._connection.format_default_headers() + lines, self.keep_alive)


def format_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return headers as lines."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def format_head(status: int, lines: bytes, keep_alive: bool) -> bytes:
    """Return the head of a response, whose header lines are given."""
    return b"".join((STATUS_LINES[status], lines, b"\r\n" if keep_alive else b"connection: close\r\n\r\n"))
