"""Traces: a span for each request, and one for each part of the work on it, as OpenTelemetry has them.

The standard ``OTEL_…`` variables say where they go, and the extra ``otel`` sends them; without either there is nothing
in a request's way. A span has what the log has, and nothing of an upload. FastAPI can trace, too, but only what reaches
it, which the short way does not.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from app import __version__

if TYPE_CHECKING:  # not in the base install
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

logger = logging.getLogger(__name__)

PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
FLUSHED = 0.5  # seconds in which the last spans may be sent, at the end


class Trace:
    """One request's, as ``scope["trace"]``; ``id`` is in hexadecimal."""

    __slots__ = ("_began", "_context", "_span", "_tracer", "id")

    def __init__(self, tracer: "Tracer", span: "Span", context: "Context") -> None:
        self._tracer, self._span, self._context = tracer, span, context
        self._began = time.time_ns() - int(time.perf_counter() * 1e9)
        self.id = f"{span.get_span_context().trace_id:032x}"

    def steps(self, started: float, **seconds: float) -> None:
        """Add a span for each step of the work, one after the other from ``started``, by ``time.perf_counter``."""
        if not self._span.is_recording():
            return
        at = self._began + int(started * 1e9)
        for name, duration in seconds.items():
            step = self._tracer.start_span(name, self._context, start_time=at)
            at += int(duration * 1e9)
            step.end(at)


def open_provider() -> "TracerProvider | None":
    """What the ``OTEL_…`` variables ask for, or None where they ask for nothing, or for what is not installed: whoever
    asks for digits is answered all the same."""
    names = list(exporters())
    if not names:
        return None
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        logger.warning("OTEL_… variables ask for traces, which need an extra: pip install 'digitserve[otel]'")
        return None
    resource = Resource.create({"service.version": __version__})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):  # the variables do not name it
        resource = resource.merge(Resource({"service.name": "digitserve"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in names:
        found = list(entry_points(group="opentelemetry_traces_exporter", name=name))
        if not found:
            logger.warning("no traces go to %s: there is no such exporter installed", name)
            continue
        provider.add_span_processor(BatchSpanProcessor(found[0].load()()))
    return provider


def exporters() -> Iterator[str]:
    """The names of the exporters that are asked for, as their packages have them."""
    given = os.environ.get
    if given("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    endpoint = given("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or given("OTEL_EXPORTER_OTLP_ENDPOINT")
    wanted = given("OTEL_TRACES_EXPORTER") or ("otlp" if endpoint else "none")
    for name in wanted.split(","):
        if name.strip() == "otlp":
            protocol = given("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or given("OTEL_EXPORTER_OTLP_PROTOCOL")
            protocol = protocol or "http/protobuf"
            yield PROTOCOLS.get(protocol, protocol)
        elif name.strip() not in ("", "none"):
            yield name.strip()


async def close(provider: "TracerProvider") -> None:
    """Send what has gathered, and stop; a collector that does not answer holds nobody up."""
    thread = threading.Thread(target=provider.shutdown, daemon=True)
    thread.start()
    until = time.monotonic() + FLUSHED
    while thread.is_alive() and time.monotonic() < until:  # noqa: ASYNC110  # a thread sets no event of the loop
        await asyncio.sleep(0.01)
