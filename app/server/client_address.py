"""Finds the address of a client, also behind a proxy that the service trusts."""

from contextlib import suppress
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

Client = tuple[str, int] | None
"""Address and port of whoever opened the connection, or None on a Unix socket."""


async def do_nothing(scope: Any, receive: Any, send: Any) -> None:
    """Be the app behind uvicorn's middleware, which only has to find the client."""


class ClientFinder:
    """Finds clients as uvicorn's middleware does.

    Args:
        trusted_proxies: The addresses of proxies that may say who the client is, separated by commas.
    """

    def __init__(self, trusted_proxies: str = "127.0.0.1") -> None:
        self._proxy_headers: Any = ProxyHeadersMiddleware(do_nothing, trusted_proxies)

    def __call__(self, client: Client, headers: list[tuple[bytes, bytes]]) -> str:
        """Return the address of the client, or ``-`` if there is none."""
        if any(name == b"x-forwarded-for" for name, _ in headers):
            scope: Any = {"type": "http", "scheme": "http", "client": client, "headers": headers}
            with suppress(StopIteration):  # the middleware waits for nothing
                self._proxy_headers(scope, None, None).send(None)
            client = scope["client"]
        return client[0] if client else "-"
