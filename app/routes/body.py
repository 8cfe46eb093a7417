"""What the routes that take pictures have in common: how a body is received, and how it is described."""

from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from app.errors import BodyTooLargeError
from app.schemas import EXAMPLE_IMAGE, ImageBody

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


async def receive_body(scope: Scope, receive: Receive, limit: int) -> tuple[bytes, bytes]:
    """Receive a request's body, and with it its content type, which is empty where there is none.

    Raises:
        BodyTooLargeError: the body is, or says that it is, over the limit; no more of it is received.
        ClientDisconnect: the client went away before its end.
    """
    content_type = b""
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length" and value.isdigit() and int(value) > limit:
            raise too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        gathered = bytearray(body)
        while message.get("more_body") and len(gathered) <= limit:
            message = await receive()
            gathered += message.get("body", b"")
        body = bytes(gathered)
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    if len(body) > limit:
        raise too_large(limit)
    return content_type, body


def too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The body is larger than the {limit:,} bytes that are allowed.")


def server_timing(**seconds: float) -> str:
    """Say where the time of an answer went, as the header Server-Timing has it."""
    return ", ".join([f"{name};dur={duration * 1e3:.3f}" for name, duration in seconds.items()])
