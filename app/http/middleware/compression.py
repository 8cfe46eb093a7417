"""Compresses large JSON answers and the metrics for clients that ask for it (RFC 9110, 12.5.3)."""

import asyncio
import gzip

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIN_BYTES = 8192  # smaller answers do not even look at the request: compressing one would cost more than sending it
LEVEL = 1  # of zlib: 6 takes two to seven times as long for a tenth to a half fewer bytes
TYPES = (b"application/json", b"application/openmetrics-text", b"text/plain")


class Compression:
    """ASGI middleware around what FastAPI serves. Files, which have ETags and ranges, and answers in parts pass
    unchanged. Our own router compresses its answers itself: a small one does not even pass here."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message | None = None  # waits for the body

        async def send_compressed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None:
                body = message.get("body", b"")
                if len(body) >= MIN_BYTES and not message.get("more_body"):
                    headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
                    message["body"] = body = await compress(scope, headers, body)
                    start["headers"] = [*headers, (b"content-length", b"%d" % len(body))]
                await send(start)
                start = None
            await send(message)

        await self.app(scope, receive, send_compressed if scope["type"] == "http" else send)


async def compress(scope: Scope, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Return the body of a large answer, compressed if the client accepts that.

    Args:
        scope: Of the request.
        headers: Of the answer, without its length. This adds ``Vary`` and ``Content-Encoding``. An answer with an ETag
            stays as it is, because its ETag names these bytes.
        body: All of it.
    """
    names = dict(headers)
    if not names.get(b"content-type", b"").startswith(TYPES) or b"etag" in names:
        return body
    headers.append((b"vary", b"Accept-Encoding"))
    if accepts_gzip(", ".join(Headers(scope=scope).getlist("accept-encoding"))):
        headers.append((b"content-encoding", b"gzip"))
        return await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)
    return body


def accepts_gzip(accepted: str) -> bool:
    """Return whether an ``Accept-Encoding`` names gzip, or ``*``, with a quality above 0."""
    qualities = {}
    for item in accepted.lower().split(","):
        coding, _, parameter = item.partition(";")
        digits = parameter.replace(" ", "").removeprefix("q=")
        qualities[coding.strip()] = not digits or any(digit in "123456789" for digit in digits)
    return qualities.get("gzip", qualities.get("*", False))
