"""Gives every request an ID, counts it and logs it, whatever answers it."""

import asyncio
import re
import time
from collections.abc import Iterable
from random import getrandbits

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import SlowRequestError
from app.http.problems import problem_response
from app.observability.logging import AccessLog
from app.observability.metrics import Metrics

# Reasons why the server cancels the task of a request (``server/http_protocol.py``).
CLIENT_DISCONNECTED = "the client disconnected"
BODY_TOO_SLOW = "the body arrived too slowly"

# A shared cache may otherwise store an answer, and a browser may guess another type for it.
DEFAULT_HEADERS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a request whose client disconnected before the response
VALID_ID = re.compile(rb"[A-Za-z0-9._:/=+-]{1,64}")  # AWS has "=" in it, ASP.NET ":"; none needs escaping in JSON


class RequestLog:
    """The outermost ASGI middleware.

    It puts the request ID into ``scope["state"]["request_id"]`` and into the response, and forbids caches to store a
    response that does not say otherwise. The app may set ``scope["path_label"]``, the label that counts the request,
    and ``scope["rejected"]``, the reason of a refusal.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, log: AccessLog | None) -> None:
        self.app, self.metrics, self.log = app, metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        id_header = get_request_id(scope["headers"])
        request_id = id_header.decode()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = CLIENT_CLOSED_REQUEST

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", id_header)]
                names = {name for name, _ in headers}
                message["headers"] = headers + [header for header in DEFAULT_HEADERS if header[0] not in names]
            await send(message)

        self.metrics.in_flight += 1
        try:
            await self.app(scope, receive, send_with_id)
        except asyncio.CancelledError as error:
            if error.args == (BODY_TOO_SLOW,) and status == CLIENT_CLOSED_REQUEST:
                if task := asyncio.current_task():
                    task.uncancel()
                too_slow = SlowRequestError("The body arrived too slowly.")
                await problem_response(scope, too_slow)(scope, receive, send_with_id)
            elif error.args != (CLIENT_DISCONNECTED,):
                raise
        finally:
            seconds = time.perf_counter() - started
            self.metrics.in_flight -= 1
            self.metrics.count_request(bounded_method(scope["method"]), path_label(scope), status, seconds)
            if "rejected" in scope:
                self.metrics.count_rejection(scope["rejected"])
            if self.log:
                client = scope.get("client")
                trace_id = scope["trace"].id if "trace" in scope else None
                self.log.write(
                    client[0] if client else "-", scope["method"], scope["path"], status, seconds, request_id, trace_id
                )


def get_request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the client's X-Request-ID if it is a short token of safe characters, otherwise a new ID."""
    for name, value in headers:
        if name == b"x-request-id":
            if VALID_ID.fullmatch(value):
                return value
            break
    return b"%016x" % getrandbits(64)  # tells requests apart; it need not be secret


KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def bounded_method(method: str) -> str:
    """Return the method, or ``other`` if it is made up: each label value costs memory."""
    return method if method in KNOWN_METHODS else "other"


def path_label(scope: Scope) -> str:
    """Return the path as the route declares it, because clients may ask for any number of paths."""
    if "path_label" in scope:
        return str(scope["path_label"])
    return str(getattr(scope.get("route"), "path", "other"))
