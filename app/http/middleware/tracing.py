"""Traces each request as an OpenTelemetry span, with a child span for each step of the work on it.

A span contains what the access log contains, and nothing of an upload. FastAPI could trace too, but it does not see the
requests of our own router.
"""

from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import __version__
from app.http.middleware.request_log import bounded_method, path_label
from app.http.paths import HEALTH_PATHS, METRICS_PATHS
from app.observability.logging import MAX_PATH_CHARACTERS
from app.observability.tracing import Trace

if TYPE_CHECKING:  # not in the base install
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

UNTRACED_PATHS = HEALTH_PATHS | METRICS_PATHS  # polled every few seconds, and of no interest


class Tracing:
    """ASGI middleware. Only ``RequestLog`` is outside it."""

    def __init__(self, app: ASGIApp, provider: "TracerProvider") -> None:
        from opentelemetry import propagate, trace

        self.app = app
        self._trace, self._propagate = trace, propagate
        self._tracer = provider.get_tracer("digitserve", __version__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].removeprefix(scope["root_path"]) in UNTRACED_PATHS:
            await self.app(scope, receive, send)
            return
        span, context = self._start_span(scope)
        scope["trace"] = Trace(self._tracer, span, context)
        status, failure = None, None

        async def send_and_record(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_record)
        except BaseException as error:  # includes cancellation
            failure = type(error).__name__
            raise
        finally:
            span.update_name(f"{bounded_method(scope['method'])} {path_label(scope)}")
            span.set_attribute("http.route", path_label(scope))
            if status is not None:
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    failure = failure or scope.get("rejected", str(status))
            if failure:
                span.set_attribute("error.type", failure)
                span.set_status(self._trace.StatusCode.ERROR)
            span.end()

    def _start_span(self, scope: Scope) -> "tuple[Span, Context]":
        """Start the span of a request, as a child of the caller's span if a header names one."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        method = bounded_method(scope["method"])
        attributes = {
            "http.request.method": "_OTHER" if method == "other" else method,
            "url.path": scope["path"][:MAX_PATH_CHARACTERS],
            "url.scheme": scope["scheme"],
            "network.protocol.version": scope["http_version"],
            "http.request.header.x-request-id": scope["state"]["request_id"],
        }
        parent = self._propagate.extract(headers)
        span = self._tracer.start_span(method, parent, self._trace.SpanKind.SERVER, attributes)
        return span, self._trace.set_span_in_context(span, parent)
