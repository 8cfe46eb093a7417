"""Parses the requests on a connection with httptools, and refuses what HTTP/1.1 forbids."""

import re
from functools import lru_cache
from typing import Protocol

import httptools

from app.server.exchange import RequestHead, format_lines

# RFC 9110, 7.2: a name or an address, and perhaps a port. An empty one is valid, too.
VALID_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
FRAMING = (b"content-length", b"transfer-encoding")


class StopParsingError(Exception):
    """Raised in a callback, it makes httptools stop. Without another answer, the request gets 400."""


class RequestReceiver(Protocol):
    """Gets the parts of each request. Only ``on_head`` may raise, and only StopParsingError."""

    def on_begin(self) -> None:
        """The first byte of a request has arrived."""

    def on_head(self, head: RequestHead, keep_alive: bool) -> None:
        """The head of a request is complete. ``keep_alive`` is what the client wants."""

    def on_body(self, data: bytes) -> None:
        """A part of the body has arrived."""

    def on_end(self) -> None:
        """The request is complete."""


class RequestParser:
    """Parses the requests on one connection."""

    def __init__(self, receiver: RequestReceiver) -> None:
        self._receiver = receiver
        self.on_body = receiver.on_body  # httptools calls the methods that are named on_…
        self._parser = httptools.HttpRequestParser(self)
        self._url, self._headers = b"", list[tuple[bytes, bytes]]()
        self._in_head = False
        self._framing = b""  # header lines that say how the body of a request with ``Upgrade`` is framed
        self._resuming = False  # parses such a body

    def feed(self, data: bytes) -> None:
        """Parse what has arrived.

        Raises:
            httptools.HttpParserError: It is not valid HTTP/1.1, or the receiver stopped the parser.
        """
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = self._ignore_upgrade() + data[upgrade.args[0] :]

    def _ignore_upgrade(self) -> bytes:
        """Make the parser read on after a head with ``Upgrade``, which a server may ignore (RFC 9110, 7.8).

        httptools ends such a request at its head. Its body would be taken for the next request. So a new parser gets a
        head that only frames the body. This returns that head.
        """
        self._parser = httptools.HttpRequestParser(self)
        self._resuming = bool(self._framing)
        return b"POST / HTTP/1.1\r\n%b\r\n" % self._framing if self._framing else b""

    def on_message_begin(self) -> None:
        if not self._resuming:
            self._url, self._headers, self._in_head = b"", [], True
            self._receiver.on_begin()

    def on_url(self, url: bytes) -> None:
        if not self._resuming:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # later ones are trailers, which nothing reads
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._resuming:
            self._resuming = False
            return
        parser = self._parser
        self._in_head, version, method = False, parser.get_http_version(), parser.get_method()
        hosts = [value for name, value in self._headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and version == "1.1") or not all(map(is_valid_host, hosts)):
            raise StopParsingError
        try:
            httptools.parse_url(self._url)
        except httptools.HttpParserInvalidURLError:
            raise StopParsingError from None
        self._framing = b""
        if parser.should_upgrade():
            self._framing = format_lines(header for header in self._headers if header[0] in FRAMING)
        keep_alive = version == "1.1" and parser.should_keep_alive() and method != b"CONNECT"
        self._receiver.on_head(RequestHead(method, self._url, version, self._headers), keep_alive)

    def on_message_complete(self) -> None:
        if not (self._framing and self._parser.should_upgrade()):  # otherwise the body follows
            self._receiver.on_end()


@lru_cache(maxsize=256)  # almost all requests name the same host
def is_valid_host(host: bytes) -> bool:
    """Return whether a Host header is valid."""
    return VALID_HOST.fullmatch(host) is not None
