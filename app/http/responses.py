"""Responses as bytes, without the cost of a response object."""

from typing import NamedTuple


class RawResponse(NamedTuple):
    """A response with the status 200."""

    body: bytes
    headers: list[tuple[bytes, bytes]]  # in ASGI's form, without Content-Length


def respond(body: bytes, media_type: bytes = b"application/json", server_timing: str = "") -> RawResponse:
    """Respond with a body and, if it is given, the header Server-Timing."""
    headers = [(b"content-type", media_type)]
    if server_timing:
        headers.append((b"server-timing", server_timing.encode()))
    return RawResponse(body, headers)


def format_server_timing(decode: float, infer: float, queue: float | None = None) -> str:
    """Format how many seconds each step of an answer took, for the header Server-Timing."""
    queue_entry = "" if queue is None else f", queue;dur={queue * 1e3:.3f}"
    return f"decode;dur={decode * 1e3:.3f}{queue_entry}, infer;dur={infer * 1e3:.3f}"
