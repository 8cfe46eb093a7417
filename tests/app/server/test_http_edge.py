"""What real clients and proxies send: upgrades, early answers, hosts, garbage after a request. Over a real socket."""

import re
import socket
import time
from contextlib import suppress

import pytest

from tests.support.pictures import Grey, png
from tests.support.running import Server

UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "TLS": b"Connection: keep-alive, Upgrade\r\nUpgrade: TLS/1.2\r\n",
}


def exchange(server: Server, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send parts on one connection, with a pause after each. Receive until the server closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        for part in parts:
            client.sendall(part)
            time.sleep(pause)
        while data := client.recv(65536):
            received += data
    return received


def statuses(responses: bytes) -> list[int]:
    """Return the status of each response."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", responses)]


@pytest.mark.parametrize("kind", UPGRADES)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("pause", [0.0, 0.05], ids=["one packet", "several packets"])
def test_an_upgrade_is_ignored_and_the_body_is_read(
    server: Server, seven: Grey, kind: str, chunked: bool, pause: float
) -> None:
    """The picture gets its answer, whatever the body is framed by, and the next request on the connection its own."""
    picture = png(seven)
    framing = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % len(picture)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n" + UPGRADES[kind] + framing + b"\r\n"
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(picture), picture) if chunked else picture
    last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    if pause:
        received = exchange(server, head, body[:50], body[50:], last, pause=pause)
    else:
        received = exchange(server, head + body + last)
    assert statuses(received) == [200, 200]
    assert b'"digit":7' in received


def test_the_body_of_a_request_with_an_upgrade_is_no_request(server: Server) -> None:
    """A request inside such a body is not answered: one answer each, so nobody can smuggle one through a proxy."""
    inner = b"GET /info HTTP/1.1\r\nHost: x\r\n\r\n"
    outer = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n"
    received = exchange(server, outer + b"Content-Length: %d\r\n\r\n" % len(inner) + inner)
    assert len(statuses(received)) == 1
    assert b"digitnet" not in received


def test_a_get_with_an_upgrade_is_answered(server: Server) -> None:
    """A request without a body is complete at its head, and the next one is answered, too."""
    get = b"GET /livez HTTP/1.1\r\nHost: x\r\n" + UPGRADES["h2c"] + b"\r\n"
    assert statuses(exchange(server, get + get + b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == [
        *(200, 200, 200)
    ]


def test_thousands_of_upgrades_in_one_packet_are_answered(server: Server) -> None:
    """The parser starts again after each of them, as often as it takes."""
    get = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    last = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert statuses(exchange(server, get * 2000 + last)) == [200] * 2001


@pytest.mark.parametrize("size", [12_000_000, 40_000_000])
def test_a_client_that_still_sends_can_read_an_early_answer(server: Server, size: int) -> None:
    """A body over the limit gets 413, and the connection is not reset while the client sends the rest of it."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % size
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(head)
        for _ in range(100):
            client.sendall(b"\0" * 100_000)  # a reset would fail here or below
        received = b""
        while data := client.recv(65536):
            received += data
    assert statuses(received) == [413]


def send_until_cut_off(client: socket.socket, seconds: float) -> float:
    """Send a little at a time. Return after how many seconds the connection breaks."""
    began = time.monotonic()
    with suppress(OSError):
        while time.monotonic() < began + seconds:
            client.sendall(b"\0" * 1000)
            time.sleep(0.05)
    return time.monotonic() - began


def test_an_early_answer_does_not_wait_forever(server: Server) -> None:
    """A client that goes on sending after its answer is cut off after a few seconds."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert send_until_cut_off(client, seconds=15) < 10


@pytest.mark.parametrize(
    "hosts",
    [b"", b"Host: a\r\nHost: b\r\n", b"Host: a b\r\n", b"Host: a/b\r\n", b"Host: user@a\r\n", b"Host: a:x\r\n"],
    ids=["missing", "two", "with a space", "with a path", "with a user", "with a wrong port"],
)
def test_a_wrong_host_is_refused(server: Server, hosts: bytes) -> None:
    """A missing, repeated or malformed Host gets 400, and the connection is closed (RFC 9112, 3.2)."""
    received = exchange(server, b"GET /livez HTTP/1.1\r\n" + hosts + b"\r\n")
    assert statuses(received) == [400]
    assert b"connection: close" in received


@pytest.mark.parametrize("host", [b"x", b"x:80", b"[::1]:8000", b"127.0.0.1", b"", b"a_b.example"])
def test_a_right_host_is_accepted(server: Server, host: bytes) -> None:
    """Names and addresses with and without a port are valid. So is an empty Host."""
    received = exchange(server, b"GET /livez HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host)
    assert statuses(received) == [200]


def test_http_1_0_needs_no_host(server: Server) -> None:
    """HTTP/1.0 has no Host. The connection closes after the answer."""
    assert statuses(exchange(server, b"GET /livez HTTP/1.0\r\n\r\n")) == [200]


def test_garbage_after_a_request_does_not_replace_its_answer(server: Server) -> None:
    """The request gets its answer. The garbage gets a 400, and the connection closes."""
    received = exchange(server, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n\0\0garbage\r\n\r\n")
    assert statuses(received) == [200, 400]


def test_a_malformed_body_gets_400(server: Server) -> None:
    """A chunk without its length ends the request with 400, although its head was valid."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert statuses(exchange(server, head, b"zz\r\n", pause=0.05)) == [400]
