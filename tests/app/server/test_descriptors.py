"""A service with few file descriptors refuses connections in time, and still answers health checks."""

import re
import socket
from contextlib import ExitStack

import httpx

from app.server.descriptors import RESERVED
from tests.support.running import running


def ask(client: socket.socket, path: str) -> int:
    """Send a request and return the status of the answer."""
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    found = re.match(rb"HTTP/1\.1 (\d+)", client.recv(65536))
    assert found
    return int(found[1])


def test_with_few_descriptors_it_refuses_and_stays_healthy() -> None:
    """It warns at start. Beyond what fits, connections get 503, but health checks and open connections 200."""
    room = 20
    with running(descriptors=(RESERVED + room, RESERVED + room)) as server, ExitStack() as stack:
        assert f"At most {room} connections" in server.log.read_text()
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            for _ in range(room + 40)
        ]
        assert [ask(client, "/info") for client in clients[:room]] == [200] * room
        assert [ask(client, "/info") for client in clients[room + 5 :]] == [503] * 35
        assert [ask(client, "/readyz") for client in clients[room : room + 5]] == [200] * 5
        assert httpx.get(f"{server.url}/livez").status_code == 200


def test_the_soft_limit_is_raised() -> None:
    """A soft limit below the hard one is no reason to refuse anyone."""
    with running(descriptors=(128, 1024), DIGITS_MAX_CONNECTIONS="400") as server, ExitStack() as stack:
        assert "At most" not in server.log.read_text()
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10)) for _ in range(300)
        ]
        assert {ask(client, "/info") for client in clients} == {200}
