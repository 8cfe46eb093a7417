"""One request and its response: the ASGI app's ``receive`` and ``send``."""

import asyncio
import http
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
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


def make_scope(url: bytes, method: bytes, version: str, headers: Headers, root_path: str) -> Scope:
    """Return the ASGI scope of a request, without its addresses and its state.

    Raises:
        httptools.HttpParserInvalidURLError: The URL is malformed.
    """
    parsed = httptools.parse_url(url)
    raw_path = parsed.path or b"/"
    path = raw_path.decode("ascii")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": version,
        "scheme": "http",
        "method": method.decode("ascii"),
        "root_path": root_path,
        "path": root_path + (unquote(path) if "%" in path else path),
        "raw_path": root_path.encode() + raw_path,
        "query_string": parsed.query or b"",
        "headers": headers,
    }


class Exchange:
    """A request whose head is complete, and its response.

    Args:
        expects_continue: The client sends the body only after ``100 Continue``.
    """

    def __init__(self, connection: "HttpProtocol", scope: Scope, keep_alive: bool, expects_continue: bool) -> None:
        self.scope, self.keep_alive = scope, keep_alive
        self.response_started = self.response_complete = False
        self.task: asyncio.Task[None] | None = None
        self._connection, self._expects_continue = connection, expects_continue
        self._body = bytearray()
        self._body_complete = self._body_taken = self._disconnected = False
        self._wakened = asyncio.Event()
        self._head: Message | None = None  # the start of a response, until its body follows
        self._sends_body = True
        self._chunked = False
        self._missing_bytes: int | None = None  # of a response whose length is announced

    @property
    def buffer_is_full(self) -> bool:
        """Whether the app has to take a part of the body before more of it is read."""
        return len(self._body) > HIGH_WATER_BYTES and not self.response_complete

    def feed(self, data: bytes) -> None:
        """Add a part of the body. The app is woken only when the body is complete or the buffer is full."""
        if not self.response_complete:
            self._body += data
            if self.buffer_is_full:
                self._wakened.set()

    def complete_body(self) -> None:
        """Let the app have the whole body."""
        self._body_complete = True
        self._wakened.set()

    def disconnect(self, reason: str) -> None:
        """Tell the app that the client is gone."""
        self._disconnected = True
        self._wakened.set()
        self.cancel(reason)

    def cancel(self, reason: str) -> bool:
        """Cancel the task of a request whose response has not started. Return whether there was one."""
        return not self.response_started and self.task is not None and self.task.cancel(reason)

    async def run(self, app: AsgiApp) -> None:
        """Answer the request."""
        try:
            await app(self.scope, self.receive, self.send)
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
        if self._expects_continue:
            self._expects_continue = False
            if not self.response_started and not self._body:
                self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (
            self._disconnected
            or self.response_complete
            or (not self._body_taken and (self._body_complete or self.buffer_is_full))
        ):
            self._wakened.clear()
            await self._wakened.wait()
        if self._disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self._body = bytes(self._body), bytearray()
        self._body_taken = self._body_complete
        self._connection.update_reading()
        return {"type": "http.request", "body": body, "more_body": not self._body_complete}

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
        self._wakened.set()
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
        self._sends_body = status not in NO_BODY and self.scope["method"] != "HEAD"
        if self._missing_bytes is None and status not in NO_BODY:
            if length is not None:
                lines += b"content-length: %d\r\n" % length
            elif self.scope["http_version"] == "1.1":
                lines += b"transfer-encoding: chunked\r\n"
                self._chunked = True
            else:
                self.keep_alive = False  # the end of the connection is the end of the body
        return format_head(status, self._connection.format_default_headers() + lines, self.keep_alive)


def format_head(status: int, lines: bytes, keep_alive: bool) -> bytes:
    """Return the head of a response, whose header lines are given."""
    return b"".join((STATUS_LINES[status], lines, b"\r\n" if keep_alive else b"connection: close\r\n\r\n"))
