"""Requests and bodies that no good client sends: each gets its problem and does no harm."""

import json
import re
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import numpy as np
import pytest

from tests.support.hostile import SECRET, Reply, check_refusal, file_part, form, get, post, talk, unharmed
from tests.support.pictures import Grey, png
from tests.support.running import Server, running


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server for these tests alone, because they measure its memory."""
    with running() as server:
        yield server


@dataclass(frozen=True)
class Case:
    """A request, and how it must be refused."""

    request: Callable[[], bytes]  # creates it when it is needed, because some are large
    status: int
    slug: str | None  # of the problem; None under /v2


FORM = "multipart/form-data; boundary=xyz"
TEXT = b'Content-Disposition: form-data; name="note"\r\n\r\n' + SECRET
INFER = "/v2/models/digitnet/infer"
TENSOR = b'{"inputs": [{"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": [%b]}]}'


def head(line: str, *fields: str) -> Callable[[], bytes]:
    return lambda: "\r\n".join([line, *fields, "", ""]).encode("latin-1")


def malformed(content_type: str, body: Callable[[], bytes]) -> Case:
    return Case(lambda: post("/predict", content_type, body()), 400, "malformed-request")


def not_an_image(content: bytes, name: str = "a.png") -> Case:
    return Case(lambda: post("/predict", FORM, form(file_part(content, name))), 415, "unsupported-media")


def not_http(request: Callable[[], bytes]) -> Case:
    return Case(request, 400, "malformed-http")


def unknown_path(path: str) -> Case:
    return Case(lambda: get(path), 404, "not-found")


CASES = {
    # Bodies in none of the three forms, or with more than one image.
    "an empty body": malformed("image/png", bytes),
    "an empty form": malformed(FORM, bytes),
    "a form without a file": malformed(FORM, lambda: form(TEXT)),
    "a form with an empty file": malformed(FORM, lambda: form(file_part(b""))),
    "a form with two files": malformed(FORM, lambda: form(file_part(SECRET), file_part(SECRET))),
    "a form with 1,000 files": malformed(FORM, lambda: form(*[file_part(SECRET)] * 1_000)),
    "a form with 100,000 fields": malformed(FORM, lambda: form(*[TEXT] * 100_000)),
    "a part with 100,000 headers": malformed(FORM, lambda: form(b"A: b\r\n" * 100_000 + b"\r\nx")),
    "a part whose header is 9 MB": malformed(FORM, lambda: form(b"A: " + b"b" * 9_000_000 + b"\r\n\r\nx")),
    "a truncated form": malformed(FORM, lambda: form(file_part(SECRET))[:-9]),
    "a form of boundaries": malformed(FORM, lambda: b"--xyz\r\n" * 1_000_000),
    "a form without its boundary": malformed("multipart/form-data", lambda: form(file_part(SECRET))),
    "another boundary than declared": malformed(FORM, lambda: form(file_part(SECRET), boundary=b"abc")),
    "a boundary of 300 bytes": malformed(
        f"multipart/form-data; boundary={'b' * 300}", lambda: form(file_part(SECRET), boundary=b"b" * 300)
    ),
    "a boundary that is not text": malformed("multipart/form-data; boundary=\xff\xfe", lambda: SECRET),
    "1,025 files for the batch": Case(
        lambda: post("/predict/batch", FORM, form(*[file_part(SECRET)] * 1_025)), 400, "malformed-request"
    ),
    "a huge urlencoded form": Case(
        lambda: post("/predict", "application/x-www-form-urlencoded", b"a=" + SECRET * 500_000),
        415,
        "unsupported-media",
    ),
    "another type": Case(lambda: post("/predict", "text/plain", SECRET), 415, "unsupported-media"),
    # JSON.
    "binary data as JSON": malformed("application/json", lambda: bytes(range(256)) + SECRET),
    "JSON with the secret as its name": malformed("application/json", lambda: b'{"image": "AA==", "%b": 1}' % SECRET),
    "JSON with a name of 9 MB": malformed("application/json", lambda: b'{"image": "", "' + b"k" * 9_000_000 + b'": 1}'),
    "JSON with a million names": malformed(
        "application/json", lambda: b"{" + b",".join(b'"%x":0' % number for number in range(10**6)) + b"}"
    ),
    "JSON with three million lists": malformed(
        "application/json", lambda: b'{"image": [' + b"[]," * 3_000_000 + b"0]}"
    ),
    "JSON nested five million deep": malformed("application/json", lambda: b'{"image": ' + b"[" * 5_000_000),
    "base64 of nothing": malformed("application/json", lambda: b'{"image": "data:image/png;base64,"}'),
    "base64 of something else": Case(
        lambda: post("/predict", "application/json", b'{"image": "AAAA"}'), 415, "unsupported-media"
    ),
    # Tensors.
    "a tensor with a number of 400 digits": Case(
        lambda: post(INFER, "application/json", TENSOR % (b"9" * 400)), 400, None
    ),
    "a tensor with 20 million lists": Case(
        lambda: post(INFER, "application/json", TENSOR % (b"[]," * 20_000_000 + b"0")), 400, None
    ),
    "a JSON length of 5,000 digits": Case(
        lambda: post(INFER, "application/json", SECRET, more=f"Inference-Header-Content-Length: {'9' * 5_000}\r\n"),
        400,
        None,
    ),
    # Over the limits.
    "a length over the limit": Case(lambda: post("/predict", "image/png", length=10_000_001), 413, "body-too-large"),
    "a length of 2^63": Case(lambda: post("/predict", "image/png", length=2**63), 413, "body-too-large"),
    "20 MB in chunks": Case(
        lambda: post("/predict", "image/png", bytes(20_000_000), chunked=True), 413, "body-too-large"
    ),
    "a head of 1 MB": Case(lambda: get("/livez", f"X: {'a' * 1_000_000}\r\n"), 431, "head-too-large"),
    "100,000 headers": Case(lambda: get("/livez", "A: b\r\n" * 100_000), 431, "head-too-large"),
    "a URL of 1 MB": Case(lambda: get("/" + "a" * 1_000_000), 431, "head-too-large"),
    "two million trailers": Case(
        lambda: post("/predict", "image/png", b"x", chunked=True)[:-2] + b"A: b\r\n" * 2_000_000 + b"\r\n",
        415,
        "unsupported-media",
    ),
    # Requests that a proxy and a server may understand differently.
    "a length and chunks": not_http(
        head("POST /predict HTTP/1.1", "Host: x", "Content-Length: 4", "Transfer-Encoding: chunked", "", "0")
    ),
    "two lengths": not_http(head("POST /predict HTTP/1.1", "Host: x", "Content-Length: 1", "Content-Length: 2")),
    "a negative length": not_http(head("POST /predict HTTP/1.1", "Host: x", "Content-Length: -1")),
    "a length of 5,000 digits": not_http(head("POST /predict HTTP/1.1", "Host: x", f"Content-Length: {'9' * 5_000}")),
    "two transfer encodings": not_http(
        head("POST /predict HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "Transfer-Encoding: identity")
    ),
    "a chunk size that is not a number": not_http(
        head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "", "ZZ")
    ),
    "a header on two lines": not_http(head("GET /livez HTTP/1.1", "Host: x", "X: a", " b")),
    "a header with a space": not_http(head("GET /livez HTTP/1.1", "Host: x", "X : a")),
    "a header with a zero": not_http(head("GET /livez HTTP/1.1", "Host: x", "X: a\0b")),
    "lines without carriage returns": not_http(lambda: b"GET /livez HTTP/1.1\nHost: x\n\n"),
    "an unknown method": not_http(head("BREW /livez HTTP/1.1", "Host: x")),
    "TLS": not_http(lambda: bytes.fromhex("16030102000100") + SECRET),
    "HTTP/2": not_http(lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "a tunnel to another host": not_http(head("CONNECT example.org:443 HTTP/1.1", "Host: x")),
    "a URL that is not text": not_http(lambda: b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n"),
    # URLs.
    "an invalid host": not_http(lambda: get("/nothing", "Host: [\r\n")),
    "another host, and an extra slash": Case(lambda: get("/docs/", "Host: example.org\r\n"), 404, "not-found"),
    "a path out of the assets": unknown_path("/assets/../../../../etc/passwd"),
    "the same, percent-encoded": unknown_path("/assets/%2e%2e/..%2f%2e%2e/settings.py"),
    "a zero byte in a URL": unknown_path("/assets/%00"),
    "half a character in a URL": unknown_path("/assets/%ed%a0%80"),
    "a file name of 5,000 letters": unknown_path("/assets/" + "a" * 5_000),
    "escape codes for a terminal": unknown_path("/%1b[31m%0a%0d"),
    "an invalid query": Case(
        lambda: post("/predict?normalize=%00%ff&preview=%00", "image/png", SECRET), 400, "malformed-request"
    ),
    "a websocket": Case(
        lambda: get("/predict", "Host: x\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        405,
        "method-not-allowed",
    ),
    # Files that are not pictures, whatever their names.
    "text named .png": not_an_image(SECRET),
    "a PDF named .png": not_an_image(b"%PDF-1.7\n" + SECRET),
    "an SVG named .png": not_an_image(b'<svg xmlns="http://www.w3.org/2000/svg"><!--' + SECRET + b"--></svg>"),
    "HTML named .png": not_an_image(b"<!doctype html><script>" + SECRET),
    "a ZIP named .png": not_an_image(b"PK\x03\x04" + SECRET),
    "a pickle named .png": not_an_image(b"\x80\x04\x95" + SECRET),
    "a path as the name": not_an_image(SECRET, "../../etc/passwd\0.png"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_request_gets_its_problem_and_does_no_harm(name: str, server: Server, seven: Grey) -> None:
    """The response has the right status, a problem with a request ID, and leaks nothing. The server is unharmed."""
    case = CASES[name]
    request = case.request()
    with unharmed(server, seven, growth=60 + 3 * len(request) / 1e6):
        check_refusal(talk(server, request), case.status, case.slug)


def test_a_batch_of_a_thousand_bad_files_does_no_harm(server: Server, seven: Grey) -> None:
    """None of the files is a picture: the batch gets a 200, with a problem in the place of each file."""
    body = form(*[file_part(SECRET)] * 1_000)
    with unharmed(server, seven):
        reply = talk(server, post("/predict/batch", FORM, body))
    assert reply.status == 200
    assert {answer["status"] for answer in reply.json()["predictions"]} == {415}
    assert len(reply.json()["predictions"]) == 1_000
    assert SECRET not in reply.raw


def test_pipelined_requests_are_answered_in_order(server: Server, digits: list[tuple[int, Grey]]) -> None:
    """Five hundred requests at once, good and bad, get as many responses in the same order."""
    requests, expected = [], []
    for number in range(500):
        digit, image = digits[number % len(digits)]
        bad = number % 7 == 3
        requests.append(
            post("/predict", "image/png", SECRET if bad else png(image)).replace(b"Connection: close\r\n", b"")
        )
        expected.append((415, None) if bad else (200, digit))
    with unharmed(server, digits[14][1]):
        reply = talk(server, b"".join(requests) + get("/livez"))
    replies = [Reply(b"HTTP/1.1 " + part) for part in reply.raw.split(b"HTTP/1.1 ")[1:]]
    assert [(one.status, one.json().get("digit")) for one in replies[:-1]] == expected
    assert replies[-1].json() == {"status": "ok"}


def test_garbage_after_a_request_ends_the_connection(server: Server, seven: Grey) -> None:
    """After a good request with garbage behind it, the connection is closed, and the server is unharmed."""
    with unharmed(server, seven):
        reply = talk(server, get("/livez").replace(b"Connection: close\r\n", b"") + b"\0" * 100)
    assert re.findall(rb"HTTP/1.1 (\d+)", reply.raw)[-1] == b"400"


def test_thousands_of_clients_that_disconnect_do_no_harm(server: Server, seven: Grey) -> None:
    """4,000 clients send a picture each and disconnect. A digit is read while their work waits, and afterwards."""
    picture = png(np.kron(255 - seven, np.ones((6, 6), np.uint8)))  # 168x168: too large for the event loop
    request = post("/predict", "image/png", picture)
    with unharmed(server, seven), ExitStack() as stack:
        for _ in range(4_000):
            client = stack.enter_context(socket.socket())
            client.connect(("127.0.0.1", server.port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing sends a reset
            client.sendall(request)


def test_silent_connections_do_not_block_others(server: Server, seven: Grey) -> None:
    """2,000 connections are open, half of them in the middle of a head. A picture is read meanwhile."""
    with unharmed(server, seven), ExitStack() as stack:
        for number in range(2_000):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            if number % 2:
                client.sendall(b"POST /predict HTTP/1.1\r\nHost:")
        assert talk(server, post("/predict", "image/png", png(seven))).json()["digit"] == 7


def test_a_response_that_nobody_reads_needs_no_memory(server: Server, seven: Grey) -> None:
    """A client requests the largest file a thousand times and reads nothing: the server waits and stores little."""
    request = get("/assets/redoc/redoc.standalone.js").replace(b"Connection: close\r\n", b"")
    with unharmed(server, seven), socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(1)
        with suppress(TimeoutError):
            client.sendall(request * 1_000)
        assert talk(server, post("/predict", "image/png", png(seven))).json()["digit"] == 7


def test_the_check_for_harm_can_fail(server: Server, seven: Grey) -> None:
    """A URL is logged, so a secret in it is found. So is memory that is used."""
    with pytest.raises(AssertionError), unharmed(server, seven):
        talk(server, get(f"/{SECRET.decode()}"))
    with pytest.raises(AssertionError), unharmed(server, seven, growth=1):
        talk(server, post("/predict", "application/json", json.dumps({"image": "A" * 9_000_000}).encode()))
