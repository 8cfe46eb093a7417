"""Traces: through the whole app with the SDK's own exporter, and from a real server to a real collector."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.middleware import request_log
from app.observability import tracing
from app.inference.model_folder import RELEASED
from app.main import create_app
from app.settings import Settings
from tests.support.pictures import Grey, png
from tests.support.running import ROOT, clean_environment, running
from tests.app.recognition.test_number import page

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID, SPAN_ID = PARENT.split("-")[1:3]


def asked(ask: Callable[[httpx.AsyncClient], Awaitable[object]], **settings: object) -> list[ReadableSpan]:
    """Start the app, ask it something, stop it: the spans, in the order in which they ended."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = create_app(Settings(**settings), provider)  # type: ignore[arg-type]  # of any type
    asyncio.run(in_lifespan(app, ask))
    return list(exporter.get_finished_spans())


async def in_lifespan(app: ASGIApp, ask: Callable[[httpx.AsyncClient], Awaitable[object]]) -> None:
    """Do what a server does: start the app, hand its state to each request, stop it."""
    state: dict[str, object] = {}
    told: asyncio.Queue[Message] = asyncio.Queue()
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    lifespan: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    running_app = asyncio.ensure_future(app(lifespan, to_app.get, told.put))
    await to_app.put({"type": "lifespan.startup"})
    assert (await told.get())["type"] == "lifespan.startup.complete"

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(with_state), base_url="http://test") as client:
        await ask(client)
    await to_app.put({"type": "lifespan.shutdown"})
    assert (await told.get())["type"] == "lifespan.shutdown.complete"
    await running_app


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def by_name(spans: list[ReadableSpan]) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans}


def test_a_request_is_a_span_with_its_steps_under_the_caller_s(seven: Grey) -> None:
    """Its parent is the traceparent's span; decode, queue and infer are its children, in that order and within it."""

    async def ask(client: httpx.AsyncClient) -> None:
        headers = {"traceparent": PARENT, "X-Request-ID": "r-17"}
        answer = await client.post("/predict", files={"file": png(seven)}, headers=headers)
        assert answer.json()["digit"] == 7

    spans = by_name(asked(ask))
    assert set(spans) == {"decode", "queue", "infer", "POST /predict"}
    request = spans["POST /predict"]
    assert request.kind is SpanKind.SERVER
    assert f"{request.context.trace_id:032x}" == TRACE_ID
    assert request.parent
    assert f"{request.parent.span_id:016x}" == SPAN_ID
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.request.header.x-request-id": "r-17",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "url.path": "/predict",
        "url.scheme": "http",
    }
    at = request.start_time or 0
    for name in ("decode", "queue", "infer"):
        step = spans[name]
        assert step.parent == request.context
        assert attributes(step) == {}
        assert step.start_time
        assert step.end_time
        assert at <= step.start_time <= step.end_time
        at = step.end_time
    assert request.end_time
    assert at <= request.end_time


def test_each_way_to_send_a_picture_has_its_steps(seven: Grey) -> None:
    """A query, several files, tensors, a page; and each request is a trace of its own where no caller has one."""

    async def ask(client: httpx.AsyncClient) -> None:
        for path, picture in (("/predict?preview=true", seven), ("/predict/batch", seven), ("/read", page([[seven]]))):
            (await client.post(path, files={"file": png(picture)})).raise_for_status()
        tensor = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": seven.ravel().tolist()}
        name, version = RELEASED.split("-")
        for path in (f"/v2/models/{name}/infer", f"/v2/models/{name}/versions/{version}/infer"):
            (await client.post(path, json={"inputs": [tensor]})).raise_for_status()

    spans = asked(ask)
    servers = [span for span in spans if span.kind is SpanKind.SERVER]
    assert [span.name for span in servers] == [
        "POST /predict",
        "POST /predict/batch",
        "POST /read",
        "POST /v2/models/{name}/infer",
        "POST /v2/models/{name}/versions/{version}/infer",
    ]
    assert len({span.context.trace_id for span in servers}) == len(servers)
    for span in servers:
        steps = [other.name for other in spans if other.parent == span.context]
        assert steps == (["decode", "queue", "infer"] if span.name == "POST /predict" else ["decode", "infer"])


def test_what_fails_is_told_as_such_and_nothing_of_an_upload() -> None:
    """A client's fault has its status alone, a fault of ours is an error; no query, name or content is in any span, and
    a made-up address is counted as other."""

    async def ask(client: httpx.AsyncClient) -> None:
        form = {"file": ("canary-name", b"canary-content")}
        assert (await client.post("/predict?canary=query", files=form)).status_code == 415
        assert (await client.get("/nothing", headers={"User-Agent": "canary", "Cookie": "canary"})).status_code == 404
        assert (await client.request("CANARY", "/predict")).status_code == 405

    bad, nothing, method = asked(ask)
    assert (bad.name, bad.status.status_code) == ("POST /predict", StatusCode.UNSET)
    assert attributes(bad)["http.response.status_code"] == 415
    assert (nothing.name, attributes(nothing)["http.route"]) == ("GET other", "other")
    assert attributes(method)["http.request.method"] == "_OTHER"
    assert "canary" not in "".join(span.to_json() for span in (bad, nothing)).lower()

    async def ask_too_much(client: httpx.AsyncClient) -> None:
        blank = png(np.zeros((2000, 2000), np.uint8))
        answers = await asyncio.gather(*(client.post("/predict", files={"file": blank}) for _ in range(4)))
        assert {answer.status_code for answer in answers} == {200, 503}

    refused = [span for span in asked(ask_too_much, max_inflight=1) if span.status.status_code is StatusCode.ERROR]
    assert refused
    assert {attributes(span)["error.type"] for span in refused} == {"overloaded"}


def test_probes_and_metrics_are_not_traced() -> None:
    """What is asked every few seconds makes no spans."""

    async def ask(client: httpx.AsyncClient) -> None:
        for path in ("/livez", "/readyz", "/healthz", "/metrics", "/v2/health/ready"):
            assert (await client.get(path)).status_code == 200

    assert asked(ask) == []


def test_who_goes_away_is_told() -> None:
    """A cancelled request's span ends, as an error, and the cancellation goes on."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError(request_log.GONE)

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "root_path": "",
        "headers": [],
        "scheme": "http",
        "http_version": "1.1",
        "state": {"request_id": "r"},
    }
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(tracing.Tracing(never, provider)(scope, None, None))  # type: ignore[arg-type]  # neither is used
    (span,) = exporter.get_finished_spans()
    assert attributes(span)["error.type"] == "CancelledError"


class Collector(ThreadingHTTPServer):
    """Takes what is sent by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.taken: list[ExportTraceServiceRequest] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def spans(self) -> dict[str, str]:
        """The trace of each span, in hexadecimal, by the span's name."""
        return {
            span.name: span.trace_id.hex()
            for request in self.taken
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }

    def services(self) -> set[str]:
        return {
            attribute.value.string_value
            for request in self.taken
            for resource in request.resource_spans
            for attribute in resource.resource.attributes
            if attribute.key == "service.name"
        }


class Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/traces"
        self.server.taken.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_real_server_sends_its_spans_and_logs_their_trace(seven: Grey, workers: str) -> None:
    """The variables are OpenTelemetry's own; what was not sent before a stop is sent by it; a log line has the id."""
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


def test_the_service_s_name_and_the_sampler_are_the_variables_own(seven: Grey) -> None:
    """OTEL_SERVICE_NAME and OTEL_TRACES_SAMPLER are obeyed: of two requests only the one that its caller samples is
    sent, and the other's line has its trace all the same."""
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


def test_a_collector_that_does_not_answer_holds_nobody_up(seven: Grey) -> None:
    """It takes connections and says nothing: requests are answered, a stop takes no longer, and each line is JSON."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with running(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY="10") as server:
            httpx.post(f"{server.url}/predict", files={"file": png(seven)}, timeout=2).raise_for_status()
            time.sleep(0.2)
            began = time.monotonic()
        assert time.monotonic() - began < 5


def test_a_collector_that_is_not_there_is_a_line_of_the_log(seven: Grey) -> None:
    """What the SDK says of it has the form of all lines."""
    with running(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_BSP_SCHEDULE_DELAY="10") as server:
        httpx.post(f"{server.url}/predict", files={"file": png(seven)}).raise_for_status()
        log = server.wait_for_log('"logger": "opentelemetry')
    assert all(json.loads(line)["level"] for line in log.splitlines())


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_SERVICE_NAME": "digits"},
    ],
)
def test_it_is_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """Then nothing of it is in a request's way: Observe hands on to what it does without the extra."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tracing.open_provider() is None
    app = create_app(Settings(), tracing.open_provider())
    assert isinstance(app, request_log.Observe)
    assert not isinstance(app.app, tracing.Tracing)


def test_exporters_are_found_by_the_names_that_the_variables_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """otlp is the one of its protocol; several may be named."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp, console")
    assert list(tracing.exporters()) == ["otlp_proto_http", "console"]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert list(tracing.exporters()) == ["otlp_proto_grpc", "console"]


def test_an_exporter_that_is_not_installed_is_told_and_no_more() -> None:
    """Whoever asks for digits is answered all the same."""
    with running(OTEL_TRACES_EXPORTER="pigeon") as server:
        assert "no traces go to pigeon" in server.log.read_text()


def test_without_the_extra_it_is_off_and_told() -> None:
    """The base install has no SDK: a variable that asks for traces is a line in the log, and the service is there."""
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
    assert "pip install 'digitserve[otel]'" in done.stderr
