"""OpenTelemetry traces: where they are sent, and the spans of the steps within a request.

OpenTelemetry's own ``OTEL_…`` variables say where to send traces, and the extra ``otel`` sends them. Without either,
tracing adds nothing to a request.
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
from app.errors import install_command

if TYPE_CHECKING:  # not in the base install
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

logger = logging.getLogger(__name__)

EXPORTERS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}  # by OTLP's protocol
CLOSE_TIMEOUT_S = 0.5  # for sending the last spans


class Trace:
    """The trace of one request, in ``scope["trace"]``. ``id`` is hexadecimal."""

    __slots__ = ("_clock_offset_ns", "_context", "_span", "_tracer", "id")

    def __init__(self, tracer: "Tracer", span: "Span", context: "Context") -> None:
        self._tracer, self._span, self._context = tracer, span, context
        self._clock_offset_ns = time.time_ns() - int(time.perf_counter() * 1e9)
        self.id = f"{span.get_span_context().trace_id:032x}"

    def add_steps(self, started: float, **seconds: float) -> None:
        """Add a child span for each step of the work.

        Args:
            started: When the first step started, by ``time.perf_counter``. Each other step starts when the one before
                it ends.
            seconds: How long each step took, by its name, in order.
        """
        if not self._span.is_recording():
            return
        at_ns = self._clock_offset_ns + int(started * 1e9)
        for name, duration in seconds.items():
            step = self._tracer.start_span(name, self._context, start_time=at_ns)
            at_ns += int(duration * 1e9)
            step.end(at_ns)


def open_provider() -> "TracerProvider | None":
    """Create the tracer provider that the ``OTEL_…`` variables ask for.

    Returns None if they ask for none. If what they ask for is not installed, it logs a warning and the service runs
    without: reading digits is more important.
    """
    names = list(read_exporter_names())
    if not names:
        return None
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        logger.warning("OTEL_… variables ask for traces, which need the extra otel: %s", install_command("otel"))
        return None
    resource = Resource.create({"service.version": __version__})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):  # the variables do not set it
        resource = resource.merge(Resource({"service.name": "digitserve"}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in names:
        found = list(entry_points(group="opentelemetry_traces_exporter", name=name))
        if not found:
            logger.warning("no traces are sent to %s: that exporter is not installed", name)
            continue
        provider.add_span_processor(BatchSpanProcessor(found[0].load()()))
    return provider


def read_exporter_names() -> Iterator[str]:
    """Yield the names of the exporters that the variables ask for, as their packages register them."""
    get_variable = os.environ.get
    if get_variable("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    endpoint = get_variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or get_variable("OTEL_EXPORTER_OTLP_ENDPOINT")
    exporters = get_variable("OTEL_TRACES_EXPORTER") or ("otlp" if endpoint else "none")
    for name in exporters.split(","):
        if name.strip() == "otlp":
            protocol = get_variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or get_variable("OTEL_EXPORTER_OTLP_PROTOCOL")
            protocol = protocol or "http/protobuf"
            yield EXPORTERS.get(protocol, protocol)
        elif name.strip() not in ("", "none"):
            yield name.strip()


async def close_provider(provider: "TracerProvider") -> None:
    """Send the remaining spans and stop. Give up after ``CLOSE_TIMEOUT_S`` if the collector does not answer."""
    thread = threading.Thread(target=provider.shutdown, daemon=True)
    thread.start()
    deadline = time.monotonic() + CLOSE_TIMEOUT_S
    while thread.is_alive() and time.monotonic() < deadline:  # noqa: ASYNC110  # a thread sets no event of the loop
        await asyncio.sleep(0.01)
