"""Requests and bodies that no good client sends: each is told why, and leaves the server as it was."""

import json
import re
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import numpy as np
import pytest

from tests.support.hostile import SECRET, Reply, file_part, form, get, is_told_why, post, talk, unharmed
from tests.support.pictures import Grey, png
from tests.support.running import Server, running


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of their own, so that its memory is nobody else's."""
    with running() as server:
        yield server


@dataclass(frozen=True)
class Case:
    """A request, and how it is refused."""

    request: Callable[[], bytes]  # made when it is needed, for some are large
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


def no_image(content: bytes, name: str = "a.png") -> Case:
    return Case(lambda: post("/predict", FORM, form(file_part(content, name))), 415, "unsupported-media")


def no_http(request: Callable[[], bytes]) -> Case:
    return Case(request, 400, "malformed-http")


def nowhere(path: str) -> Case:
    return Case(lambda: get(path), 404, "not-found")


CASES = {
    # Bodies in none of the three forms, or in more of them than one.
    "an empty body": malformed("image/png", bytes),
    "an empty form": malformed(FORM, bytes),
    "a form without a file": malformed(FORM, lambda: form(TEXT)),
    "a form with an empty file": malformed(FORM, lambda: form(file_part(b""))),
    "a form with two files": malformed(FORM, lambda: form(file_part(SECRET), file_part(SECRET))),
    "a form with 1,000 files": malformed(FORM, lambda: form(*[file_part(SECRET)] * 1_000)),
    "a form with 100,000 fields": malformed(FORM, lambda: form(*[TEXT] * 100_000)),
    "a part with 100,000 headers": malformed(FORM, lambda: form(b"A: b\r\n" * 100_000 + b"\r\nx")),
    "a part whose header is 9 MB": malformed(FORM, lambda: form(b"A: " + b"b" * 9_000_000 + b"\r\n\r\nx")),
    "a form cut short": malformed(FORM, lambda: form(file_part(SECRET))[:-9]),
    "a form of boundaries": malformed(FORM, lambda: b"--xyz\r\n" * 1_000_000),
    "a form without its boundary": malformed("multipart/form-data", lambda: form(file_part(SECRET))),
    "another boundary than it says": malformed(FORM, lambda: form(file_part(SECRET), boundary=b"abc")),
    "a boundary of 300 bytes": malformed(
        f"multipart/form-data; boundary={'b' * 300}", lambda: form(file_part(SECRET), boundary=b"b" * 300)
    ),
    "a boundary that is no text": malformed("multipart/form-data; boundary=\xff\xfe", lambda: SECRET),
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
    "binary to the JSON form": malformed("application/json", lambda: bytes(range(256)) + SECRET),
    "JSON with the secret as its name": malformed("application/json", lambda: b'{"image": "AA==", "%b": 1}' % SECRET),
    "JSON with a name of 9 MB": malformed("application/json", lambda: b'{"image": "", "' + b"k" * 9_000_000 + b'": 1}'),
    "JSON of a million names": malformed(
        "application/json", lambda: b"{" + b",".join(b'"%x":0' % number for number in range(10**6)) + b"}"
    ),
    "JSON of three million lists": malformed("application/json", lambda: b'{"image": [' + b"[]," * 3_000_000 + b"0]}"),
    "JSON five million deep": malformed("application/json", lambda: b'{"image": ' + b"[" * 5_000_000),
    "base64 of nothing": malformed("application/json", lambda: b'{"image": "data:image/png;base64,"}'),
    "base64 of no picture": Case(
        lambda: post("/predict", "application/json", b'{"image": "AAAA"}'), 415, "unsupported-media"
    ),
    # Tensors.
    "a tensor of a number past any": Case(lambda: post(INFER, "application/json", TENSOR % (b"9" * 400)), 400, None),
    "a tensor of 20 million lists": Case(
        lambda: post(INFER, "application/json", TENSOR % (b"[]," * 20_000_000 + b"0")), 400, None
    ),
    "a tensor whose JSON is of 5,000 digits of bytes": Case(
        lambda: post(INFER, "application/json", SECRET, more=f"Inference-Header-Content-Length: {'9' * 5_000}\r\n"),
        400,
        None,
    ),
    # Too much.
    "a length over the limit": Case(lambda: post("/predict", "image/png", length=10_000_001), 413, "body-too-large"),
    "a length of 2^63": Case(lambda: post("/predict", "image/png", length=2**63), 413, "body-too-large"),
    "20 MB in chunks": Case(
        lambda: post("/predict", "image/png", bytes(20_000_000), chunked=True), 413, "body-too-large"
    ),
    "a head of 1 MB": Case(lambda: get("/livez", f"X: {'a' * 1_000_000}\r\n"), 431, "head-too-large"),
    "100,000 headers": Case(lambda: get("/livez", "A: b\r\n" * 100_000), 431, "head-too-large"),
    "an address of 1 MB": Case(lambda: get("/" + "a" * 1_000_000), 431, "head-too-large"),
    "two million trailers": Case(
        lambda: post("/predict", "image/png", b"x", chunked=True)[:-2] + b"A: b\r\n" * 2_000_000 + b"\r\n",
        415,
        "unsupported-media",
    ),
    # Requests that proxies and servers understand differently.
    "a length and chunks": no_http(
        head("POST /predict HTTP/1.1", "Host: x", "Content-Length: 4", "Transfer-Encoding: chunked", "", "0")
    ),
    "two lengths": no_http(head("POST /predict HTTP/1.1", "Host: x", "Content-Length: 1", "Content-Length: 2")),
    "a length below nothing": no_http(head("POST /predict HTTP/1.1", "Host: x", "Content-Length: -1")),
    "a length of 5,000 digits": no_http(head("POST /predict HTTP/1.1", "Host: x", f"Content-Length: {'9' * 5_000}")),
    "chunks of chunks": no_http(
        head("POST /predict HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "Transfer-Encoding: identity")
    ),
    "a chunk of no number": no_http(head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "", "ZZ")),
    "a header in two lines": no_http(head("GET /livez HTTP/1.1", "Host: x", "X: a", " b")),
    "a header with a space": no_http(head("GET /livez HTTP/1.1", "Host: x", "X : a")),
    "a header with a zero": no_http(head("GET /livez HTTP/1.1", "Host: x", "X: a\0b")),
    "lines that end half": no_http(lambda: b"GET /livez HTTP/1.1\nHost: x\n\n"),
    "a method that there is not": no_http(head("BREW /livez HTTP/1.1", "Host: x")),
    "TLS": no_http(lambda: bytes.fromhex("16030102000100") + SECRET),
    "HTTP/2": no_http(lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "a tunnel to elsewhere": no_http(head("CONNECT example.org:443 HTTP/1.1", "Host: x")),
    "an address of bytes": no_http(lambda: b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n"),
    # Addresses.
    "a host that is none": Case(lambda: get("/nothing", "Host: [\r\n"), 404, "not-found"),
    "another host, and a slash too many": Case(lambda: get("/docs/", "Host: example.org\r\n"), 404, "not-found"),
    "the way out of the assets": nowhere("/assets/../../../../etc/passwd"),
    "the same, in disguise": nowhere("/assets/%2e%2e/..%2f%2e%2e/settings.py"),
    "a zero in an address": nowhere("/assets/%00"),
    "half a character in an address": nowhere("/assets/%ed%a0%80"),
    "a file name of 5,000 letters": nowhere("/assets/" + "a" * 5_000),
    "colours for a terminal": nowhere("/%1b[31m%0a%0d"),
    "a query that is none": Case(
        lambda: post("/predict?normalize=%00%ff&preview=%00", "image/png", SECRET), 400, "malformed-request"
    ),
    "a websocket": Case(
        lambda: get("/predict", "Host: x\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        405,
        "method-not-allowed",
    ),
    # What is no picture, whatever its name.
    "text named .png": no_image(SECRET),
    "a PDF named .png": no_image(b"%PDF-1.7\n" + SECRET),
    "an SVG named .png": no_image(b'<svg xmlns="http://www.w3.org/2000/svg"><!--' + SECRET + b"--></svg>"),
    "HTML named .png": no_image(b"<!doctype html><script>" + SECRET),
    "a ZIP named .png": no_image(b"PK\x03\x04" + SECRET),
    "a pickle named .png": no_image(b"\x80\x04\x95" + SECRET),
    "a name of a path": no_image(SECRET, "../../etc/passwd\0.png"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_request_is_told_why_and_harms_nothing(name: str, server: Server, seven: Grey) -> None:
    """Its status, a problem with an id, nothing that leaks; the same process, within its memory, answers the next."""
    case = CASES[name]
    request = case.request()
    with unharmed(server, seven, growth=60 + 3 * len(request) / 1e6):
        is_told_why(talk(server, request), case.status, case.slug)


def test_a_thousand_files_are_a_batch(server: Server, seven: Grey) -> None:
    """As many as are allowed, none of them a picture: 200, and each is told so in its place."""
    body = form(*[file_part(SECRET)] * 1_000)
    with unharmed(server, seven):
        reply = talk(server, post("/predict/batch", FORM, body))
    assert reply.status == 200
    assert {answer["status"] for answer in reply.json()["predictions"]} == {415}
    assert len(reply.json()["predictions"]) == 1_000
    assert SECRET not in reply.raw


def test_requests_in_one_packet_are_answered_in_order(server: Server, digits: list[tuple[int, Grey]]) -> None:
    """Five hundred at once, good and bad: as many answers, each in its place."""
    asked, expected = [], []
    for number in range(500):
        digit, image = digits[number % len(digits)]
        bad = number % 7 == 3
        asked.append(
            post("/predict", "image/png", SECRET if bad else png(image)).replace(b"Connection: close\r\n", b"")
        )
        expected.append((415, None) if bad else (200, digit))
    with unharmed(server, digits[14][1]):
        reply = talk(server, b"".join(asked) + get("/livez"))
    replies = [Reply(b"HTTP/1.1 " + part) for part in reply.raw.split(b"HTTP/1.1 ")[1:]]
    assert [(one.status, one.json().get("digit")) for one in replies[:-1]] == expected
    assert replies[-1].json() == {"status": "ok"}


def test_what_follows_a_request_and_is_none_ends_the_connection(server: Server, seven: Grey) -> None:
    """A good request with garbage behind it: whatever is answered, the connection ends, and nobody else notices."""
    with unharmed(server, seven):
        reply = talk(server, get("/livez").replace(b"Connection: close\r\n", b"") + b"\0" * 100)
    assert re.findall(rb"HTTP/1.1 (\d+)", reply.raw)[-1] == b"400"


def test_thousands_of_clients_that_leave_while_they_wait_harm_nobody(server: Server, seven: Grey) -> None:
    """4,000 send a picture each and are gone: a digit is read while their work waits, and afterwards."""
    picture = png(np.kron(255 - seven, np.ones((6, 6), np.uint8)))  # 168x168: for the pool
    request = post("/predict", "image/png", picture)
    with unharmed(server, seven), ExitStack() as stack:
        for _ in range(4_000):
            client = stack.enter_context(socket.socket())
            client.connect(("127.0.0.1", server.port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing is a reset
            client.sendall(request)


def test_connections_that_say_nothing_keep_nobody_out(server: Server, seven: Grey) -> None:
    """2,000 open ones, half of them in the midst of a head: others are read meanwhile."""
    with unharmed(server, seven), ExitStack() as stack:
        for number in range(2_000):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            if number % 2:
                client.sendall(b"POST /predict HTTP/1.1\r\nHost:")
        assert talk(server, post("/predict", "image/png", png(seven))).json()["digit"] == 7


def test_an_answer_that_nobody_reads_costs_no_memory(server: Server, seven: Grey) -> None:
    """A client asks for the largest page a thousand times and reads nothing: the server waits, and holds little."""
    ask = get("/assets/redoc/redoc.standalone.js").replace(b"Connection: close\r\n", b"")
    with unharmed(server, seven), socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(1)
        with suppress(TimeoutError):
            client.sendall(ask * 1_000)
        assert talk(server, post("/predict", "image/png", png(seven))).json()["digit"] == 7


def test_a_secret_in_the_body_would_be_noticed(server: Server, seven: Grey) -> None:
    """The checks above can fail: an address is logged, and so would be found."""
    with pytest.raises(AssertionError), unharmed(server, seven):
        talk(server, get(f"/{SECRET.decode()}"))
    with pytest.raises(AssertionError), unharmed(server, seven, growth=1):
        talk(server, post("/predict", "application/json", json.dumps({"image": "A" * 9_000_000}).encode()))
