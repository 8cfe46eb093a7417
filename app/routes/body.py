"""What the routes that take one image have in common: its three forms, and how they are described."""

from typing import Any

from fastapi import Request

from app.schemas import EXAMPLE_IMAGE, ImageBody
from app.service import Service
from app.upload import read_image

SMALL = 32_768  # bytes; an image file over this is worked on in a thread, so that the others need not wait

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


async def image_in(request: Request, service: Service) -> bytes:
    """Take the image out of a request's body.

    Raises:
        RequestError: there is not one in it, or it is larger than the limit.
    """
    headers = request.headers
    return await read_image(
        headers.get("content-type"), headers.get("content-length"), request.stream(), service.settings.max_body_bytes
    )


def server_timing(**seconds: float) -> str:
    """Say where the time of an answer went, as the header Server-Timing has it."""
    return ", ".join(f"{name};dur={duration * 1e3:.3f}" for name, duration in seconds.items())
