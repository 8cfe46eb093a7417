"""Receives the body of a request, within the limits, and inflates it if it is compressed."""

import asyncio
import time
import zlib
from typing import NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from app.errors import BodyTooLargeError, MalformedRequestError, UnsupportedEncodingError
from app.http.state import ServiceState

PIECE_BYTES = 65_536  # of a compressed body that are inflated, or result from that, before other requests run
GZIP, ZLIB, RAW_DEFLATE = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS  # what zlib calls ``wbits``


class Body(NamedTuple):
    """The complete body of a request."""

    content_type: bytes  # empty if the request has none
    content: bytes
    deadline: float  # by time.perf_counter


async def receive_body(request: Request, service: ServiceState, limit: int) -> Body:
    """Receive a request's body, if the service has room for one more request.

    Args:
        limit: The largest allowed body, in bytes. It holds before and after inflating.

    Raises:
        OverloadedError: Too many requests are waiting.
        BodyTooLargeError: The body, or its Content-Length, is over the limit. The rest of it is not received.
        UnsupportedEncodingError: The body is compressed in a way that we do not accept. It is not received.
        MalformedRequestError: The body is not compressed as its Content-Encoding says.
        ClientDisconnect: The client disconnected before the end of the body.
    """
    service.admission.check()
    content_type = encoding = b""
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"content-encoding":
            encoding = require_encoding(encoding, value)
        elif name == b"content-length" and value.isdigit() and int(value) > limit:
            raise body_too_large(limit)
    message = await request.receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body, message = await receive_rest(body, request.receive, service, limit)
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    if len(body) > limit:
        raise body_too_large(limit)
    deadline = time.perf_counter() + service.settings.deadline_ms / 1000
    if encoding:
        body = await inflate(body, encoding, service, limit)
    return Body(content_type, body, deadline)


async def receive_rest(first: bytes, receive: Receive, service: ServiceState, limit: int) -> tuple[bytes, Message]:
    """Receive the rest of a body, up to a little more than the limit. Return the body and the last message."""
    body, held_bytes = bytearray(first), 0
    try:
        while True:
            message = await receive()
            part: bytes = message.get("body", b"")
            service.admission.hold_bytes(len(part))
            held_bytes += len(part)
            body += part
            if not message.get("more_body") or len(body) > limit:
                return bytes(body), message
    finally:
        service.admission.hold_bytes(-held_bytes)


def require_encoding(earlier: bytes, value: bytes) -> bytes:
    """Return the encoding in a Content-Encoding header: gzip, deflate, or nothing.

    Args:
        earlier: The encoding in an earlier header. There may be only one.

    Raises:
        UnsupportedEncodingError: It is another one, or there are several.
    """
    encoding = value.strip().lower().removeprefix(b"x-")  # x-gzip is an old name (RFC 9110, 8.4.1.3)
    if encoding in (b"", b"identity"):
        return earlier
    if earlier or encoding not in (b"gzip", b"deflate"):
        raise UnsupportedEncodingError("Send the body as it is, or with one Content-Encoding: gzip or deflate.")
    return encoding


async def inflate(body: bytes, encoding: bytes, service: ServiceState, limit: int) -> bytes:
    """Inflate a body of gzip or deflate, in pieces, so that other requests run in between.

    What comes out counts as an upload in progress until the request is answered, because a few kilobytes may become
    many megabytes.

    Raises:
        BodyTooLargeError: It inflates to more than ``limit`` bytes.
        OverloadedError: Too many uploads are in progress.
        MalformedRequestError: It is damaged, cut short, or followed by something else.
    """
    header = int.from_bytes(body[:2])
    has_header = header % 31 == 0 and header >> 8 & 15 == 8  # of zlib (RFC 1950); some clients send deflate without it
    inflater = zlib.decompressobj(GZIP if encoding == b"gzip" else ZLIB if has_header else RAW_DEFLATE)
    inflated, held_bytes = bytearray(), 0
    if task := asyncio.current_task():  # each request has its own
        task.add_done_callback(lambda _: service.admission.hold_bytes(-held_bytes))
    try:
        for start in range(0, len(body), PIECE_BYTES):
            piece = body[start : start + PIECE_BYTES]
            while piece:
                part = inflater.decompress(piece, PIECE_BYTES)
                service.admission.hold_bytes(len(part))
                held_bytes += len(part)
                inflated += part
                if len(inflated) > limit:
                    raise body_too_large(limit)
                if inflater.unused_data:
                    raise malformed_encoding(encoding)
                piece = inflater.unconsumed_tail
                await asyncio.sleep(0)
        inflated += inflater.flush()  # the few bytes that did not fit into the last piece
    except zlib.error:
        raise malformed_encoding(encoding) from None
    if len(inflated) > limit:
        raise body_too_large(limit)
    if not inflater.eof:
        raise malformed_encoding(encoding)
    return bytes(inflated)


def body_too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The body is larger than the limit of {limit:,} bytes.")


def malformed_encoding(encoding: bytes) -> MalformedRequestError:
    return MalformedRequestError(f"The body is not valid {encoding.decode()}, as its Content-Encoding says.")
