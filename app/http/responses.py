"""Responses that the fast path sends as bytes and that a FastAPI route returns as an object."""

from starlette.responses import Response

RawHeaders = list[tuple[bytes, bytes]]
"""The headers of a response, in ASGI's form."""


def to_response(body: bytes, headers: RawHeaders) -> Response:
    """Make a response object of what the fast path would send."""
    response = Response(body)
    response.raw_headers += headers
    return response


def format_server_timing(decode: float, infer: float, queue: float | None = None) -> str:
    """Format how many seconds each step of an answer took, for the header Server-Timing."""
    queue_entry = "" if queue is None else f", queue;dur={queue * 1e3:.3f}"
    return f"decode;dur={decode * 1e3:.3f}{queue_entry}, infer;dur={infer * 1e3:.3f}"
