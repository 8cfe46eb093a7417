"""Spans of requests, in the whole app, with the SDK's own exporter."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import numpy as np
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.middleware.request_log import CLIENT_DISCONNECTED
from app.http.middleware.tracing import Tracing
from app.main import create_app
from app.settings import RELEASED_MODEL, Settings
from tests.support.pictures import Grey, make_page, png

pytest.importorskip("opentelemetry.sdk", reason="tracing needs the extra otel")
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

pytestmark = pytest.mark.slow  # the base install, on which the quick tests run, has no SDK

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID, SPAN_ID = PARENT.split("-")[1:3]

SendRequests = Callable[[httpx.AsyncClient], Awaitable[object]]


def record_spans(send_requests: SendRequests, **settings: object) -> list[ReadableSpan]:
    """Start the app, send requests, stop it. Return the spans in the order in which they ended."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = create_app(Settings(**settings), provider)  # type: ignore[arg-type]  # values of any type
    asyncio.run(run_app(app, send_requests))
    return list(exporter.get_finished_spans())


async def run_app(app: ASGIApp, send_requests: SendRequests) -> None:
    """Do what a server does: start the app, pass its state to each request, stop the app."""
    state: dict[str, object] = {}
    from_app: asyncio.Queue[Message] = asyncio.Queue()
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    lifespan: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    running_app = asyncio.ensure_future(app(lifespan, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    assert (await from_app.get())["type"] == "lifespan.startup.complete"

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(with_state), base_url="http://test") as client:
        await send_requests(client)
    await to_app.put({"type": "lifespan.shutdown"})
    assert (await from_app.get())["type"] == "lifespan.shutdown.complete"
    await running_app


def get_attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def index_by_name(spans: list[ReadableSpan]) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans}


def test_a_request_is_a_span_with_a_child_for_each_step(seven: Grey) -> None:
    """Its parent is the caller's span. Its children are decode, queue and infer, in that order and within it."""

    async def send_requests(client: httpx.AsyncClient) -> None:
        headers = {"traceparent": PARENT, "X-Request-ID": "r-17"}
        answer = await client.post("/predict", files={"file": png(seven)}, headers=headers)
        assert answer.json()["digit"] == 7

    spans = index_by_name(record_spans(send_requests))
    assert set(spans) == {"decode", "queue", "infer", "POST /predict"}
    request = spans["POST /predict"]
    assert request.kind is SpanKind.SERVER
    assert f"{request.context.trace_id:032x}" == TRACE_ID
    assert request.parent
    assert f"{request.parent.span_id:016x}" == SPAN_ID
    assert get_attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.request.header.x-request-id": "r-17",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "url.path": "/predict",
        "url.scheme": "http",
    }
    last_time = request.start_time or 0
    for name in ("decode", "queue", "infer"):
        step = spans[name]
        assert step.parent == request.context
        assert get_attributes(step) == {}
        assert step.start_time
        assert step.end_time
        assert last_time <= step.start_time <= step.end_time
        last_time = step.end_time
    assert request.end_time
    assert last_time <= request.end_time


def test_each_way_to_send_a_picture_has_its_steps(seven: Grey) -> None:
    """A query, several files, tensors and a page. Each request without a caller's trace has its own trace."""

    async def send_requests(client: httpx.AsyncClient) -> None:
        for path, picture in (
            ("/predict?preview=true", seven),
            ("/predict/batch", seven),
            ("/read", make_page([[seven]])),
        ):
            (await client.post(path, files={"file": png(picture)})).raise_for_status()
        tensor = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": seven.ravel().tolist()}
        name, version = RELEASED_MODEL.split("-")
        for path in (f"/v2/models/{name}/infer", f"/v2/models/{name}/versions/{version}/infer"):
            (await client.post(path, json={"inputs": [tensor]})).raise_for_status()

    spans = record_spans(send_requests)
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


def test_failures_are_recorded_without_anything_of_an_upload() -> None:
    """A client's fault has only its status, a fault of the service is an error. No span has a query, a file name or
    content, and an unknown path is recorded as ``other``."""

    async def send_requests(client: httpx.AsyncClient) -> None:
        form = {"file": ("canary-name", b"canary-content")}
        assert (await client.post("/predict?canary=query", files=form)).status_code == 400
        assert (await client.get("/nothing", headers={"User-Agent": "canary", "Cookie": "canary"})).status_code == 404
        assert (await client.request("CANARY", "/predict")).status_code == 405

    bad, nothing, method = record_spans(send_requests)
    assert (bad.name, bad.status.status_code) == ("POST /predict", StatusCode.UNSET)
    assert get_attributes(bad)["http.response.status_code"] == 400
    assert (nothing.name, get_attributes(nothing)["http.route"]) == ("GET other", "other")
    assert get_attributes(method)["http.request.method"] == "_OTHER"
    assert "canary" not in "".join(span.to_json() for span in (bad, nothing)).lower()

    async def send_too_many(client: httpx.AsyncClient) -> None:
        blank = png(np.zeros((2000, 2000), np.uint8))
        answers = await asyncio.gather(*(client.post("/predict", files={"file": blank}) for _ in range(4)))
        assert {answer.status_code for answer in answers} == {200, 503}

    refused = [
        span for span in record_spans(send_too_many, max_inflight=1) if span.status.status_code is StatusCode.ERROR
    ]
    assert refused
    assert {get_attributes(span)["error.type"] for span in refused} == {"overloaded"}


def test_probes_and_metrics_are_not_traced() -> None:
    """Requests that come every few seconds make no spans."""

    async def send_requests(client: httpx.AsyncClient) -> None:
        for path in ("/livez", "/readyz", "/healthz", "/metrics", "/v2/health/ready"):
            assert (await client.get(path)).status_code == 200

    assert record_spans(send_requests) == []


def test_a_cancelled_request_is_an_error() -> None:
    """Its span ends as an error, and the cancellation continues."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError(CLIENT_DISCONNECTED)

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
        asyncio.run(Tracing(never, provider)(scope, None, None))  # type: ignore[arg-type]  # neither is used
    (span,) = exporter.get_finished_spans()
    assert get_attributes(span)["error.type"] == "CancelledError"
