"""Raw connections to a server: what they send is not always HTTP."""

import json
import socket
from contextlib import suppress
from typing import Any

from tests.support.running import Server


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def receive_rest(client: socket.socket) -> bytes:
    """Receive until the other side closes."""
    received = b""
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            received += part
    return received


def parse_problem(response: bytes) -> dict[str, Any]:
    """Return the problem in a response, which must have a request ID and close the connection."""
    head, _, body = response.partition(b"\r\n\r\n")
    problem: dict[str, Any] = json.loads(body)
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head.lower()
    assert f"x-request-id: {problem['request_id']}".encode() in head
    assert head.startswith(b"HTTP/1.1 %d " % problem["status"])
    return problem


UPLOAD = (
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nX-Request-ID: slow-1\r\n"
    b"Content-Length: %d\r\n\r\n"
)
