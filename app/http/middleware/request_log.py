"""What every request gets, whatever answers it: an id, a count and a line in the log."""

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

# Why the server cancels the task of a request (``app/server/http_protocol.py``).
GONE = "the client went away"
SLOW = "the body came too slowly"

SANE = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RequestLog:
    """ASGI middleware, the outermost.

    ``scope["state"]["request_id"]`` is the client's own X-Request-ID if that is a sane token, else a new one, and
    every answer has it. ``scope["path_label"]`` is what it is counted under, and ``scope["rejected"]`` why it was
    refused, where the app sets them.
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
        status = 499  # as nginx has it: the client went away before it was answered

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", id_header)]
            await send(message)

        self.metrics.in_flight += 1
        try:
            await self.app(scope, receive, send_with_id)
        except asyncio.CancelledError as error:
            if error.args == (SLOW,) and status == 499:
                if task := asyncio.current_task():
                    task.uncancel()
                late = SlowRequestError("The body came too slowly, and was not waited for.")
                await problem_response(scope, late)(scope, receive, send_with_id)
            elif error.args != (GONE,):
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
    """The client's own id, if it is a sane token, else a new one."""
    for name, value in headers:
        if name == b"x-request-id":
            if SANE.fullmatch(value):
                return value
            break
    return b"%016x" % getrandbits(64)  # to tell requests apart, and no secret


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def bounded_method(method: str) -> str:
    return method if method in METHODS else "other"


def path_label(scope: Scope) -> str:
    """The address as it is written in the code, for there may be no end of those that clients think of."""
    if "path_label" in scope:
        return str(scope["path_label"])
    return str(getattr(scope.get("route"), "path", "other"))
