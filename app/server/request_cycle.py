"""uvicorn's request and response, except that a complete response is written at once.

uvicorn writes the head and the body one after the other. uvloop makes a system call for each write, which takes a tenth
of the time of a response.
"""

import re
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

# Header lines that uvicorn would send as they are: all valid, and none that it acts upon.
PLAIN_HEADER_LINES = re.compile(rb"(?:(?!connection:|transfer-encoding:)[a-z0-9-]+: [^\x00-\x08\x0a-\x1f\x7f]*\r\n)*")


class RequestCycle(RequestResponseCycle):
    """uvicorn's request and response, with two changes.

    The head of a response waits for the body, so that both are one write. The headers of a response with a single body
    message are checked together, not one by one.
    """

    _head: dict[str, Any] | None = None

    async def send(self, message: Any) -> None:
        if self.transport.is_closing():  # uvicorn learns only in the next iteration of the loop that the client is gone
            self.disconnected = True
        elif message["type"] == "http.response.start" and not self.response_started:
            self._head = message
        else:
            if head := self._head:
                self._head = None
                if message["type"] == "http.response.body" and self._send_complete(head, message):
                    return
                await super().send(head)  # type: ignore[arg-type]  # uvicorn has its own types for messages
            await super().send(message)

    def _send_complete(self, head: dict[str, Any], message: dict[str, Any]) -> bool:
        """Send a complete response in one write. Do nothing and return False if it must be sent another way."""
        headers, body = list(head.get("headers", ())), message.get("body", b"")
        if (
            message.get("more_body")
            or self.flow.write_paused
            or self.scope["method"] == "HEAD"
            or (b"content-length", b"%d" % len(body)) not in headers
        ):
            return False
        lines = format_headers(headers)
        if not PLAIN_HEADER_LINES.fullmatch(lines) or lines.count(b"\n") != len(headers):
            return False
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        lines = format_headers(self.default_headers) + lines
        self.transport.write(format_response(head["status"], lines, body, self.keep_alive))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True


def format_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the lines of these headers."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def format_response(status: int, lines: bytes, body: bytes, keep_alive: bool) -> bytes:
    """Return all bytes of a response, whose header lines are given."""
    return b"".join((STATUS_LINE[status], lines, b"\r\n" if keep_alive else b"connection: close\r\n\r\n", body))
