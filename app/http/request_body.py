"""Receives the body of a request, within the limits."""

import time
from typing import NamedTuple

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from app.errors import BodyTooLargeError
from app.http.state import ServiceState


class Body(NamedTuple):
    """The complete body of a request."""

    content_type: bytes  # empty if the request has none
    content: bytes
    deadline: float  # by time.perf_counter


async def receive_body(scope: Scope, receive: Receive, service: ServiceState, limit: int) -> Body:
    """Receive a request's body, if the service has room for one more request.

    Args:
        limit: The largest allowed body, in bytes.

    Raises:
        OverloadedError: Too many requests are waiting.
        BodyTooLargeError: The body, or its Content-Length, is over the limit. The rest of it is not received.
        ClientDisconnect: The client disconnected before the end of the body.
    """
    service.admission.check()
    content_type = b""
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length" and value.isdigit() and int(value) > limit:
            raise body_too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body, message = await receive_rest(body, receive, service, limit)
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    if len(body) > limit:
        raise body_too_large(limit)
    return Body(content_type, body, time.perf_counter() + service.settings.deadline_ms / 1000)


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


def body_too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The body is larger than the limit of {limit:,} bytes.")
