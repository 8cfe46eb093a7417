"""What the routes that take pictures have in common: how a body is received, and how it is described."""

import time
from typing import Any, NamedTuple

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from app.errors import BodyTooLargeError
from app.schemas import EXAMPLE_IMAGE, ImageBody
from app.service import Service

BINARY = {"schema": {"type": "string", "format": "binary"}}
ONE_IMAGE: dict[str, Any] = {
    "required": True,
    "description": "One image, in one of three forms.",
    "content": {
        # First, for Swagger UI shows the first, and this one has an example that can be sent at once.
        "application/json": {
            "schema": ImageBody.model_json_schema(),
            "examples": {"a 5 of MNIST": {"value": {"image": EXAMPLE_IMAGE}}},
        },
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary", "description": "the image file"}},
            }
        },
        "image/png": BINARY,
        "image/jpeg": BINARY,
        "image/webp": BINARY,
        "image/bmp": BINARY,
        "image/gif": BINARY,
        "application/octet-stream": BINARY,
    },
}


RawHeaders = list[tuple[bytes, bytes]]
"""The headers of an answer, as ASGI has them."""


class Body(NamedTuple):
    """A request's body, complete."""

    content_type: bytes  # empty where there is none
    content: bytes
    until: float  # when its answer will be of no use, by time.perf_counter


async def receive_body(scope: Scope, receive: Receive, service: Service, limit: int) -> Body:
    """Receive a request's body, if there is room for one more.

    Raises:
        OverloadedError: there is not.
        BodyTooLargeError: the body is, or says that it is, over the limit; no more of it is received.
        ClientDisconnect: the client went away before its end.
    """
    service.admission.check()
    content_type = b""
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length" and value.isdigit() and int(value) > limit:
            raise too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body, message = await receive_rest(body, receive, service, limit)
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    if len(body) > limit:
        raise too_large(limit)
    return Body(content_type, body, time.perf_counter() + service.settings.deadline_ms / 1000)


async def receive_rest(first: bytes, receive: Receive, service: Service, limit: int) -> tuple[bytes, Message]:
    """Receive what follows a body's first part, up to the limit and a little more, and with it the last message."""
    gathered, held = bytearray(first), 0
    try:
        while True:
            message = await receive()
            part: bytes = message.get("body", b"")
            service.admission.hold_bytes(len(part))
            held += len(part)
            gathered += part
            if not message.get("more_body") or len(gathered) > limit:
                return bytes(gathered), message
    finally:
        service.admission.hold_bytes(-held)


def too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The body is larger than the {limit:,} bytes that are allowed.")


def whole(body: bytes, headers: RawHeaders) -> Response:
    """An answer that the short way would have given, for FastAPI to give."""
    response = Response(body)
    response.raw_headers += headers
    return response


def server_timing(decode: float, infer: float, queue: float | None = None) -> str:
    """Say where the seconds of an answer went, as the header Server-Timing has it."""
    queued = "" if queue is None else f", queue;dur={queue * 1e3:.3f}"
    return f"decode;dur={decode * 1e3:.3f}{queued}, infer;dur={infer * 1e3:.3f}"
