"""A gateway on a real socket: hands requests on to a real server, and does to some what a test needs.

For what the service itself cannot be made to do: as a proxy that is busy, cuts connections or takes less.
"""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.support.running import Server


class Asked(NamedTuple):
    """A request for an answer about pictures."""

    number: int  # of those that came, from 0
    path: str
    body: bytes
    api_key: str | None


class Reply(NamedTuple):
    """Instead of the service's answer."""

    status: int
    headers: dict[str, str] = {}  # noqa: RUF012  # a NamedTuple's default, and nobody changes it
    body: bytes = b""


class Cut(NamedTuple):
    """The service's answer, broken off in the middle."""


class Slow(NamedTuple):
    """The service's answer, late."""

    seconds: float


Instead = Reply | Cut | Slow | None


@dataclass
class Gateway:
    url: str
    asked: list[Asked] = field(default_factory=list)


@contextmanager
def gateway(server: Server, instead: Callable[[Asked], Instead]) -> Iterator[Gateway]:
    """Be a gateway. ``instead`` is asked about each POST; GET is always handed on."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.hand_on(b"", None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                asked = Asked(len(gate.asked), self.path, body, self.headers["X-API-Key"])
                gate.asked.append(asked)
            self.hand_on(body, instead(asked))

        def hand_on(self, body: bytes, instead: Instead) -> None:
            if isinstance(instead, Slow):
                time.sleep(instead.seconds)
            reply = instead if isinstance(instead, Reply) else self.reply_of_service(body)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body[: len(reply.body) // 2] if isinstance(instead, Cut) else reply.body)
            self.close_connection = isinstance(instead, Cut)

        def reply_of_service(self, body: bytes) -> Reply:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            kind = self.headers.get("Content-Type", "")
            connection.request(self.command, self.path, body, {"Content-Type": kind} if kind else {})
            answer = connection.getresponse()
            reply = Reply(answer.status, {"Content-Type": answer.headers["Content-Type"]}, answer.read())
            connection.close()
            return reply

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of clients that were killed, as some are here."""

    with Quiet(("127.0.0.1", 0), Handler) as listener:
        gate = Gateway(f"http://127.0.0.1:{listener.server_port}")
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield gate
        finally:
            listener.shutdown()
            thread.join()
