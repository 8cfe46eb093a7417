"""/v2: the Open Inference Protocol, version 2, as KServe, Triton and their clients speak it over HTTP."""

import asyncio
import time
from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.datastructures import Headers
from starlette.types import Receive, Scope

import app
from app.errors import MalformedRequestError, UnknownModelError, UnsupportedMediaError
from app.http.request_body import receive_body
from app.http.responses import RawHeaders, to_response
from app.http.state import CurrentService, ServiceState
from app.http.tensors import (
    INPUTS,
    OUTPUTS,
    SIDE,
    InferenceResponse,
    ProtocolError,
    answered,
    take_tensor,
    write,
)
from app.inference.loaded_model import LoadedModel
from app.observability.input_statistics import compute_statistics

HEADER_LENGTH = "Inference-Header-Content-Length"  # bytes of JSON before the binary tensors
DEADLINE_FOR = 16  # pictures, as in a batch
LARGE = 65_536  # bytes of JSON that are parsed in a thread


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ProtocolError, "description": "An error, as the protocol has it"} for status in statuses}


router = APIRouter(prefix="/v2", tags=["open inference protocol"])


@router.get("", summary="The server")
async def server() -> dict[str, Any]:
    """Name the server and the extensions that it has."""
    return {"name": "digitserve", "version": app.__version__, "extensions": ["binary_tensor_data"]}


@router.get("/health/live", summary="Is the server alive")
async def live() -> dict[str, bool]:
    return {"live": True}


@router.get("/health/ready", summary="Is the server ready", responses=errors(503))
async def ready(service: CurrentService) -> dict[str, bool]:
    service.require_ready()
    return {"ready": True}


async def get_service_of_model(service: CurrentService, name: str, version: str | None = None) -> ServiceState:
    """Return the service if it has the model that the request names."""
    require_model(service.model, name, version)
    return service


def require_model(model: LoadedModel, name: str, version: str | None) -> None:
    """Raise if this is not the model that is asked for.

    Raises:
        UnknownModelError: it is not.
    """
    if name != model.name or version not in (None, model.version):
        raise UnknownModelError(f"There is no such model here, only {model.name}, version {model.version}.")


ServiceOfModel = Annotated[ServiceState, Depends(get_service_of_model)]


@router.get("/models/{name}/versions/{version}", summary="The model", responses=errors(404))
@router.get("/models/{name}", summary="The model", responses=errors(404))
async def model(service: ServiceOfModel) -> dict[str, Any]:
    """Name the model's inputs and outputs."""
    model = service.model
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "onnxruntime_onnx" if model.engine.name == "onnxruntime" else "pytorch",
        "inputs": INPUTS,
        "outputs": OUTPUTS,
    }


@router.get("/models/{name}/versions/{version}/ready", summary="Is the model ready", responses=errors(404, 503))
@router.get("/models/{name}/ready", summary="Is the model ready", responses=errors(404, 503))
async def model_ready(service: ServiceOfModel) -> dict[str, Any]:
    service.require_ready()
    return {"name": service.model.name, "ready": True}


BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "JSON; or JSON with binary tensors after it, its length in " + HEADER_LENGTH + ".",
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/InferenceRequest"},
                "example": {
                    "inputs": [{"name": "images", "shape": [1, SIDE, SIDE], "datatype": "UINT8", "data": [0] * SIDE**2}]
                },
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
INFER: dict[str, Any] = {
    "summary": "Read digits from tensors",
    "response_model": InferenceResponse,
    "responses": errors(400, 401, 404, 408, 413, 415, 503, 504),
    "openapi_extra": BODY,
}


@router.post("/models/{name}/versions/{version}/infer", **INFER)
@router.post("/models/{name}/infer", **INFER)
async def infer(request: Request, service: CurrentService, name: str, version: str | None = None) -> Response:
    """Read a batch of pictures as they are: 28x28, light ink on black, on the scale 0 to 255; nothing is normalised.

    `accepted` tells whether an answer meets the model's thresholds.
    """
    return to_response(*await read_tensor(request.scope, request.receive, service, name, version))


async def read_tensor(
    scope: Scope, receive: Receive, service: ServiceState, name: str, version: str | None = None
) -> tuple[bytes, RawHeaders]:
    """Answer a request for a model: JSON and the tensors that follow it, and the headers that go with them.

    Raises:
        DigitserveError: it cannot be answered.
        ClientDisconnect: nobody waits for the answer any more.
    """
    headers = Headers(scope=scope)
    if headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaError("Send the body as it is: no Content-Encoding is understood.")
    require_model(service.model, name, version)
    _, body, deadline = await receive_body(scope, receive, service, service.settings.max_batch_bytes)
    length = headers.get(HEADER_LENGTH)
    if length is not None and not (length.isdecimal() and len(length) < 16 and int(length) <= len(body)):
        raise MalformedRequestError(f"{HEADER_LENGTH} is no length of a part of the body.")
    split = int(length) if length is not None else len(body)
    take = (body, split, service.settings.max_batch)
    with service.lease_model() as model:
        started = time.perf_counter()
        require_model(model, name, version)  # again, for another may have taken over while the body came
        if split > LARGE:
            asked, images = await asyncio.get_running_loop().run_in_executor(service.pool, take_tensor, *take)
        else:
            asked, images = take_tensor(*take)
        deadline += len(images) // DEADLINE_FOR * service.settings.deadline_ms / 1000
        decoded = time.perf_counter()
        scores = await model.scheduler.read_many(images, deadline=deadline)
        values = answered(scores, model.thresholds)
    service.metrics.observe_inputs(compute_statistics(scores, images))
    if "trace" in scope:
        scope["trace"].steps(started, decode=decoded - started, infer=time.perf_counter() - decoded)
    told = Counter(zip(values["digit"].tolist(), values["accepted"].tolist(), strict=True))
    for (digit, accepted), count in told.items():
        service.metrics.count_prediction(digit, accepted, count)
    head, binary = write(asked, values, model.name, model.version)
    if not binary:
        return head, [(b"content-type", b"application/json")]
    length_header = HEADER_LENGTH.lower().encode(), b"%d" % len(head)
    return head + binary, [(b"content-type", b"application/octet-stream"), length_header]
