"""Requests that hide a second one: some HTTP parsers read each as one request and others as two.

The forms are those of the literature on request smuggling: two lengths of a body, malformed lengths, encodings and
chunks, upgrades, expectations, line ends, request lines, and bodies that nobody needs. By RFC 9112, each is one request
with a body, or invalid.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import NamedTuple

PREFIX = b"GET /info HTTP/1.1\r\nHost: x\r\nX-Request-ID: hidden\r\nX: "  # the next request becomes a part of it
HIDDEN = PREFIX + b"y\r\n\r\n"
MARK = b"x-request-id: hidden"  # in the answer to a hidden request
START = b" HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
POST = b"POST /predict" + START
METHODS = (b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"PUT", b"PATCH", b"POST", b"TRACE")
PATHS = (b"/livez", b"/", b"/docs", b"/assets/page.css", b"/assets", b"/nothing", b"/v2/health/live", b"/v2/nothing")
EXPECTATIONS = [
    b"",
    *(b"Expect: %b\r\n" % value for value in (b"100-continue", b"x 100-continue", b"100-continuex", b"")),
]
PARALLEL = 200  # connections at a time
PAUSE_S = 0.02  # between the parts of an attempt


class Attempt(NamedTuple):
    """An attempt: its name, and what is sent, in parts."""

    name: str
    parts: list[bytes]


def read_forms() -> dict[str, list[bytes]]:
    """Read the forms beside this file, by their section."""
    sections: dict[str, list[bytes]] = {}
    for line in Path(__file__).with_suffix(".txt").read_text().splitlines()[2:]:
        if name := re.match(r"\[(.*)\] ", line):
            forms = sections[name[1]] = []
        elif line:
            forms.append(line.encode().decode("unicode_escape").encode("latin-1"))
    return sections


def make_requests(hidden: bytes) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield each request: its name, its head and the rest."""

    def fill(form: bytes) -> bytes:
        """Put the hidden request and its length into a form."""
        size = len(hidden)
        return form.replace(b"%b", hidden).replace(b"%d", b"%d" % size).replace(b"%x", b"%x" % size)

    forms = {section: [fill(form) for form in found] for section, found in read_forms().items()}
    length, chunked = fill(b"Content-Length: %d\r\n"), b"Transfer-Encoding: chunked\r\n"
    in_chunk, after_chunks = fill(b"%x\r\n%b\r\n0\r\n\r\n"), b"0\r\n\r\n" + hidden
    for form in forms["lengths"]:
        yield f"{form!r}", POST + form + b"\r\n\r\n", hidden
        yield f"chunks, {form!r}", POST + chunked + form + b"\r\n\r\n", after_chunks
    for form in forms["lengths"] + forms["beside a length"]:
        yield f"length, {form!r}", POST + length + form + b"\r\n\r\n", hidden
        yield f"{form!r}, length", POST + form + b"\r\n" + length + b"\r\n", hidden
    for form, (how, rest) in product(forms["encodings"], [("in a chunk", in_chunk), ("after chunks", after_chunks)]):
        exact = b"Content-Length: %d\r\n" % len(rest)
        yield f"{form!r}, {how}", POST + form + b"\r\n\r\n", rest
        yield f"length, {form!r}, {how}", POST + exact + form + b"\r\n\r\n", rest
        yield f"{form!r}, length, {how}", POST + form + b"\r\n" + exact + b"\r\n", rest
    for form in forms["chunked"]:
        yield f"{form!r}", POST + form + b"\r\n\r\n", in_chunk
        for size in (len(after_chunks), 5, 0):  # of the body, of all chunks, of nothing
            both = (b"Content-Length: %d\r\n" % size, form + b"\r\n")
            yield f"length {size}, {form!r}", POST + b"".join(both) + b"\r\n", after_chunks
            yield f"{form!r}, length {size}", POST + b"".join(both[::-1]) + b"\r\n", after_chunks
    for form in forms["chunks"]:
        yield f"chunks {form!r}", POST + chunked + b"\r\n", form
    framings = [(length, hidden), (chunked, in_chunk), (length + chunked, after_chunks)]
    for form, (framing, rest), expectation in product(forms["upgrades"], framings, EXPECTATIONS):
        yield f"{form!r}, {framing!r}, {expectation!r}", POST + form + b"\r\n" + framing + expectation + b"\r\n", rest
    for method, path, (framing, rest) in product(METHODS, PATHS, framings):
        yield f"{method!r} {path!r}, {framing!r}", method + b" " + path + START + framing + b"\r\n", rest
    for form in forms["request lines"]:
        yield f"{form!r}", form + b"\r\nHost: x\r\n" + length + b"\r\n", hidden
    for form in [*forms["fields"], b"X: %b\r\n" % (b"y" * 70_000)]:
        yield f"{form[:60]!r} first", b"POST /predict HTTP/1.1\r\n" + form + b"Host: x\r\n" + length + b"\r\n", hidden
        yield f"{form[:60]!r} last", POST + length + form + b"\r\n", hidden
    for expectation in EXPECTATIONS:
        yield f"a long body, {expectation!r}", POST + b"Content-Length: 99999999\r\n" + expectation + b"\r\n", hidden
    whole = POST + length + b"\r\n"
    yield "line feeds only", whole.replace(b"\r\n", b"\n"), hidden
    yield "carriage returns only", whole.replace(b"\r\n", b"\r"), hidden
    yield "a head that ends with a line feed", whole[:-2] + b"\n", hidden
    yield "HTTP/1.0", POST.replace(b"/1.1", b"/1.0") + chunked + b"Connection: keep-alive\r\n\r\n", after_chunks


def make_attempts(hidden: bytes = HIDDEN) -> list[Attempt]:
    """Return all attempts: each request as one packet, and with pauses after the head and within the rest.

    Args:
        hidden: The request that they hide, or its beginning.
    """
    return [
        Attempt(f"{name}, {how}", parts)
        for name, head, rest in make_requests(hidden)
        for how, parts in (("in one packet", [head + rest]), ("with pauses", [head, rest[:9], rest[9:]]))
    ]


async def send(port: int, attempt: Attempt, silence_s: float) -> bytes:
    """Send an attempt on a connection of its own. Return what arrives until it closes, or until nothing more does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def write() -> None:
        for part in attempt.parts:
            writer.write(part)
            await asyncio.sleep(PAUSE_S)

    writing = asyncio.create_task(write())
    received = b""
    with suppress(ConnectionError, TimeoutError):
        while data := await asyncio.wait_for(reader.read(65_536), silence_s):
            received += data
    await writing
    writer.close()
    return received


def send_all(port: int, attempts: Iterable[Attempt], silence_s: float) -> list[bytes]:
    """Send attempts, many at a time. Return what arrives for each.

    Args:
        port: Of the service or a proxy on this machine.
        attempts: What to send.
        silence_s: After this time without an answer, none is expected.
    """

    async def send_in_turn() -> list[bytes]:
        turn = asyncio.Semaphore(PARALLEL)

        async def wait_and_send(attempt: Attempt) -> bytes:
            async with turn:
                return await send(port, attempt, silence_s)

        return await asyncio.gather(*map(wait_and_send, attempts))

    return asyncio.run(send_in_turn())


def is_harmless(received: bytes) -> bool:
    """Return whether there is one answer, or a refusal, or one answer and then a refusal of the rest as no HTTP."""
    answers = [answer for answer in re.split(rb"HTTP/1\.1 (?=\d{3} )", received)[1:] if not answer.startswith(b"100 ")]
    refusals = [b"malformed-http" in answer for answer in answers]
    return bool(answers) and MARK not in received and not any(refusals[:-1]) and len(answers) - refusals[-1] <= 1
