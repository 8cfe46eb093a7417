"""A faulty proxy on a real socket. It forwards requests to a real server, and spoils those that a test selects.

The service itself cannot be made to do this: to be busy, to cut connections, or to refuse large bodies.
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


class ProxiedPost(NamedTuple):
    """A POST request that the proxy has received."""

    number: int  # from 0, in order of arrival
    path: str
    body: bytes
    api_key: str | None


class Reply(NamedTuple):
    """Answer this instead of forwarding the request."""

    status: int
    headers: dict[str, str] = {}  # noqa: RUF012  # the default of a NamedTuple; nothing changes it
    body: bytes = b""


class Cut(NamedTuple):
    """Forward the request, and close the connection in the middle of the answer."""


class Slow(NamedTuple):
    """Forward the request after a delay."""

    seconds: float


Action = Reply | Cut | Slow | None
"""What the proxy does with a request. None forwards it."""


@dataclass
class Proxy:
    """A running proxy."""

    url: str
    posts: list[ProxiedPost] = field(default_factory=list)


@contextmanager
def run_proxy(server: Server, select_action: Callable[[ProxiedPost], Action]) -> Iterator[Proxy]:
    """Run a proxy until the block ends. ``select_action`` decides about each POST. GET is always forwarded."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(b"", None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                post = ProxiedPost(len(proxy.posts), self.path, body, self.headers["X-API-Key"])
                proxy.posts.append(post)
            self.answer(body, select_action(post))

        def answer(self, body: bytes, action: Action) -> None:
            if isinstance(action, Slow):
                time.sleep(action.seconds)
            reply = action if isinstance(action, Reply) else self.forward(body)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body[: len(reply.body) // 2] if isinstance(action, Cut) else reply.body)
            self.close_connection = isinstance(action, Cut)

        def forward(self, body: bytes) -> Reply:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            content_type = self.headers.get("Content-Type", "")
            connection.request(self.command, self.path, body, {"Content-Type": content_type} if content_type else {})
            answer = connection.getresponse()
            reply = Reply(answer.status, {"Content-Type": answer.headers["Content-Type"]}, answer.read())
            connection.close()
            return reply

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    class QuietServer(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Ignore clients that were killed, as some tests do."""

    with QuietServer(("127.0.0.1", 0), Handler) as listener:
        proxy = Proxy(f"http://127.0.0.1:{listener.server_port}")
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown()
            thread.join()
