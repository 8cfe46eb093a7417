"""Traces: which exporters are used, and spans from a real server to a real collector."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from app.errors import install_command
from app.http.middleware.request_log import RequestLog
from app.http.middleware.tracing import Tracing
from app.main import create_app
from app.observability.tracing import open_provider, read_exporter_names
from app.settings import Settings
from tests.support.pictures import Grey, png
from tests.support.running import ROOT, clean_environment, running

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"  # a traceparent header
TRACE_ID = PARENT.split("-")[1]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_SERVICE_NAME": "digits"},
    ],
)
def test_tracing_is_off_by_default(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """Then the app has no middleware for it."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert open_provider() is None
    app = create_app(Settings(), open_provider())
    assert isinstance(app, RequestLog)
    assert not isinstance(app.app, Tracing)


def test_exporters_have_the_names_of_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """``otlp`` stands for the exporter of its protocol. Several exporters may be listed."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp, console")
    assert list(read_exporter_names()) == ["otlp_proto_http", "console"]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert list(read_exporter_names()) == ["otlp_proto_grpc", "console"]


def test_without_the_extra_tracing_is_off_with_a_warning() -> None:
    """The base install has no SDK. If a variable asks for traces, the log says what to install."""
    code = """
import sys
sys.modules["opentelemetry.sdk"] = None  # as if it were not installed
from app.observability.tracing import open_provider
import logging
logging.basicConfig()
print(open_provider())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env=clean_environment(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "None\n"
    assert f"the extra otel: {install_command('otel')}" in done.stderr


class Collector(ThreadingHTTPServer):
    """Receives OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CollectorHandler)
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def resources(self) -> list[Any]:
        """Return everything received so far, by the resource that sent it."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [resource for request in requests for resource in request.resource_spans]

    def spans(self) -> dict[str, str]:
        """Return the trace ID of each span, in hexadecimal, by the span's name."""
        return {
            span.name: span.trace_id.hex()
            for resource in self.resources()
            for scope in resource.scope_spans
            for span in scope.spans
        }

    def services(self) -> set[str]:
        """Return the names of the services that sent spans."""
        return {
            attribute.value.string_value
            for resource in self.resources()
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }


class CollectorHandler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces"
        self.server.bodies.append(body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector until the block ends. The test is skipped without the extra ``otel``."""
    require_extra()
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


def require_extra() -> None:
    pytest.importorskip("opentelemetry.sdk", reason="tracing needs the extra otel")
    pytest.importorskip("opentelemetry.proto", reason="tracing needs the extra otel")


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_sends_its_spans_and_logs_their_trace(seven: Grey, workers: str) -> None:
    """OpenTelemetry's own variables configure it. Unsent spans are sent when it stops. The log has the trace ID."""
    with collecting() as collector:
        with running(DIGITS_WORKERS=workers, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as server:
            headers = {"traceparent": PARENT, "X-Request-ID": "traced"}
            httpx.post(f"{server.url}/predict", files={"file": png(seven)}, headers=headers).raise_for_status()
            log = server.wait_for_log("traced")
        assert collector.spans() == dict.fromkeys(("POST /predict", "decode", "queue", "infer"), TRACE_ID)
        assert collector.services() == {"digitserve"}
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["trace_id"] for line in lines if line.get("request_id") == "traced"] == [TRACE_ID]
    assert all("trace_id" not in line for line in lines if line.get("path") == "/readyz")


@pytest.mark.slow
def test_the_variables_set_the_service_s_name_and_the_sampler(seven: Grey) -> None:
    """Of two requests, only the one that its caller samples is sent. The log has the trace ID of the other, too."""
    with collecting() as collector:
        with running(
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/v1/traces",
            OTEL_SERVICE_NAME="reader",
            OTEL_TRACES_SAMPLER="parentbased_always_off",
        ) as server:
            for name, value in (("traceparent", PARENT), ("X-Request-ID", "not-sampled")):
                headers = {name: value}
                httpx.post(f"{server.url}/predict", files={"file": png(seven)}, headers=headers).raise_for_status()
            (line,) = [text for text in server.wait_for_log("not-sampled").splitlines() if "not-sampled" in text]
        assert collector.services() == {"reader"}
        assert set(collector.spans().values()) == {TRACE_ID}
    assert len(json.loads(line)["trace_id"]) == 32


@pytest.mark.slow
def test_a_collector_that_does_not_answer_delays_nothing(seven: Grey) -> None:
    """It accepts connections and stays silent. Requests are answered, and the server stops as fast as ever."""
    require_extra()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with running(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY="10") as server:
            httpx.post(f"{server.url}/predict", files={"file": png(seven)}, timeout=2).raise_for_status()
            time.sleep(0.2)
            started = time.monotonic()
        assert time.monotonic() - started < 5


@pytest.mark.slow
def test_a_missing_collector_is_logged(seven: Grey) -> None:
    """The SDK's message has the same format as every other line."""
    require_extra()
    with running(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_BSP_SCHEDULE_DELAY="10") as server:
        httpx.post(f"{server.url}/predict", files={"file": png(seven)}).raise_for_status()
        log = server.wait_for_log('"logger": "opentelemetry')
    assert all(json.loads(line)["level"] for line in log.splitlines())


@pytest.mark.slow
def test_an_exporter_that_is_not_installed_is_logged() -> None:
    """The service runs without it."""
    require_extra()
    with running(OTEL_TRACES_EXPORTER="pigeon") as server:
        assert "no traces are sent to pigeon" in server.log.read_text()
