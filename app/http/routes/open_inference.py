"""/v2: the Open Inference Protocol, version 2, which KServe, Triton and their clients use over HTTP."""

import asyncio
import time
from collections import Counter
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from starlette.datastructures import Headers
from starlette.types import Receive, Scope

import app
from app.errors import MalformedRequestError, RequestError, UnknownModelError
from app.http.request_body import receive_body
from app.http.responses import RawHeaders, to_response
from app.http.state import CurrentService, ServiceState
from app.http.tensors import (
    INPUTS,
    OUTPUTS,
    InferenceResponse,
    ProtocolError,
    make_outputs,
    parse_request,
    write_response,
)
from app.imaging.digit_image import IMAGE_SIZE
from app.inference.loaded_model import LoadedModel
from app.observability.input_statistics import compute_statistics
from app.recognition.digit import PreparedPicture

HEADER_LENGTH = "Inference-Header-Content-Length"  # bytes of JSON before the binary tensors
IMAGES_PER_DEADLINE = 16  # each 16 images extend the deadline, as in a batch
LARGE_JSON_BYTES = 65_536  # a longer JSON is parsed in a thread


def describe_protocol_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe errors for the OpenAPI document of a route, in the form of the protocol."""
    return {status: {"model": ProtocolError, "description": "An error in the protocol's form"} for status in statuses}


router = APIRouter(prefix="/v2", tags=["open inference protocol"])


@router.get("", summary="The server")
async def server() -> dict[str, Any]:
    """Return the name of the server and its extensions."""
    extensions = ["binary_tensor_data", "model_configuration"]
    return {"name": "digitserve", "version": app.__version__, "extensions": extensions}


@router.get("/health/live", summary="Is the server alive")
async def live() -> dict[str, bool]:
    return {"live": True}


@router.get("/health/ready", summary="Is the server ready", responses=describe_protocol_errors(503))
async def ready(service: CurrentService) -> dict[str, bool]:
    service.require_ready()
    return {"ready": True}


async def get_service_of_model(service: CurrentService, name: str, version: str | None = None) -> ServiceState:
    """Return the service. Raise UnknownModelError if it does not have the model that the request names."""
    require_model(service.model, name, version)
    return service


def require_model(model: LoadedModel, name: str, version: str | None) -> None:
    """Check that this is the requested model.

    Raises:
        UnknownModelError: It has another name or version.
    """
    if name != model.name or version not in (None, model.version):
        raise UnknownModelError(f"Unknown model. This service has {model.name}, version {model.version}.")


ServiceOfModel = Annotated[ServiceState, Depends(get_service_of_model)]


@router.post("/repository/index", summary="The models")
async def index(service: CurrentService) -> list[dict[str, str]]:
    """Return the only model, as Triton's repository extension does."""
    model = service.model
    return [{"name": model.name, "version": model.version, "state": "READY", "reason": ""}]


@router.get("/models/{name}/versions/{version}/stats", include_in_schema=False)
@router.get("/models/{name}/stats", include_in_schema=False)
@router.get("/models/stats", include_in_schema=False)
async def statistics() -> None:
    """Say where the statistics are: not in the form of Triton."""
    raise HTTPException(404, "There are no statistics in Triton's form. GET /metrics has those of this service")


@router.get("/models/{name}/versions/{version}", summary="The model", responses=describe_protocol_errors(404))
@router.get("/models/{name}", summary="The model", responses=describe_protocol_errors(404))
async def model(service: ServiceOfModel) -> dict[str, Any]:
    """Return the model's inputs and outputs."""
    model = service.model
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "onnxruntime_onnx" if model.engine.name == "onnxruntime" else "pytorch",
        "inputs": INPUTS,
        "outputs": OUTPUTS,
    }


CONFIG: dict[str, Any] = {"summary": "The model as Triton describes it", "responses": describe_protocol_errors(404)}


@router.get("/models/{name}/versions/{version}/config", **CONFIG)
@router.get("/models/{name}/config", **CONFIG)
async def config(service: ServiceOfModel) -> dict[str, Any]:
    """Return the model's inputs, outputs and largest batch, as Triton's model configuration does."""
    return {
        "name": service.model.name,
        "backend": "onnxruntime" if service.model.engine.name == "onnxruntime" else "pytorch",
        "max_batch_size": service.settings.max_batch,
        "input": [describe_tensor(tensor) for tensor in INPUTS],
        "output": [describe_tensor(tensor) for tensor in OUTPUTS],
    }


def describe_tensor(tensor: dict[str, Any]) -> dict[str, Any]:
    """Describe an input or output for Triton, whose shapes have no N and at least one dimension."""
    shape = tensor["shape"][1:]
    scalar: dict[str, Any] = {} if shape else {"reshape": {"shape": []}}
    return {"name": tensor["name"], "data_type": f"TYPE_{tensor['datatype']}", "dims": shape or [1], **scalar}


@router.get(
    "/models/{name}/versions/{version}/ready",
    summary="Is the model ready",
    responses=describe_protocol_errors(404, 503),
)
@router.get("/models/{name}/ready", summary="Is the model ready", responses=describe_protocol_errors(404, 503))
async def model_ready(service: ServiceOfModel) -> dict[str, Any]:
    service.require_ready()
    return {"name": service.model.name, "ready": True}


BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "JSON, or JSON followed by binary tensors. Then " + HEADER_LENGTH + " is the JSON's length.",
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/InferenceRequest"},
                "example": {
                    "inputs": [
                        {
                            "name": "images",
                            "shape": [1, IMAGE_SIZE, IMAGE_SIZE],
                            "datatype": "UINT8",
                            "data": [0] * IMAGE_SIZE**2,
                        }
                    ]
                },
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
INFER: dict[str, Any] = {
    "summary": "Read digits from tensors",
    "response_model": InferenceResponse,
    "responses": describe_protocol_errors(400, 401, 404, 408, 413, 415, 422, 503, 504),
    "openapi_extra": BODY,
}


@router.post("/models/{name}/versions/{version}/infer", **INFER)
@router.post("/models/{name}/infer", **INFER)
async def infer(request: Request, service: CurrentService, name: str, version: str | None = None) -> Response:
    """Read a batch of images: 28x28, light ink on black, values from 0 to 255. They are not normalised.

    Or read a batch of image files, with the datatype `BYTES`. They are normalised as for `/predict`. If one of them
    cannot be read, none is. `accepted` says whether an answer meets the model's thresholds.
    """
    return to_response(*await read_tensor(request.scope, request.receive, service, name, version))


async def read_tensor(
    scope: Scope, receive: Receive, service: ServiceState, name: str, version: str | None = None
) -> tuple[bytes, RawHeaders]:
    """Answer a request: return the JSON with the tensors that follow it, and its headers.

    Raises:
        DigitserveError: The request cannot be answered.
        ClientDisconnect: The client has disconnected.
    """
    headers = Headers(scope=scope)
    require_model(service.model, name, version)
    _, body, deadline = await receive_body(scope, receive, service, service.settings.max_batch_bytes)
    length = headers.get(HEADER_LENGTH)
    if length is not None and not (length.isdecimal() and len(length) < 16 and int(length) <= len(body)):
        raise MalformedRequestError(f"{HEADER_LENGTH} must be a number of bytes, up to the length of the body.")
    json_length = int(length) if length is not None else len(body)
    arguments = (body, json_length, service.settings.max_batch)
    with service.lease_model() as model:
        started = time.perf_counter()
        require_model(model, name, version)  # again: a reload may have replaced it while the body arrived
        if json_length > LARGE_JSON_BYTES:
            loop = asyncio.get_running_loop()
            request, images = await loop.run_in_executor(service.pool, parse_request, *arguments)
        else:
            request, images = parse_request(*arguments)
        deadline += len(images) // IMAGES_PER_DEADLINE * service.settings.deadline_ms / 1000
        pictures: list[PreparedPicture] = []
        if isinstance(images, list):
            pictures = await prepare_files(service, images, deadline)
            images = np.stack([picture.pixels for picture in pictures])
        decoded = time.perf_counter()
        scores = await model.scheduler.read_many(images, deadline=deadline)
        outputs = make_outputs(scores, model.thresholds)
    if pictures:
        outputs["accepted"] &= [not (picture.blank or picture.several) for picture in pictures]
    service.metrics.observe_inputs(compute_statistics(scores, images))
    if "trace" in scope:
        scope["trace"].add_steps(started, decode=decoded - started, infer=time.perf_counter() - decoded)
    counts = Counter(zip(outputs["digit"].tolist(), outputs["accepted"].tolist(), strict=True))
    for (digit, accepted), count in counts.items():
        service.metrics.count_prediction(digit, accepted, count)
    response, binary = write_response(request, outputs, model.name, model.version)
    if not binary:
        return response, [(b"content-type", b"application/json")]
    length_header = HEADER_LENGTH.lower().encode(), b"%d" % len(response)
    return response + binary, [(b"content-type", b"application/octet-stream"), length_header]


async def prepare_files(service: ServiceState, files: list[bytes], deadline: float) -> list[PreparedPicture]:
    """Decode and normalise image files.

    Raises:
        RequestError: One of them is not an image that we accept. The message says which one.
        OverloadedError: Too many large pictures are being decoded, or there is not enough memory.
        DeadlineError: The deadline passed.
    """
    pictures = []
    for index, file in enumerate(files):
        if index % IMAGES_PER_DEADLINE == IMAGES_PER_DEADLINE - 1:
            await asyncio.sleep(0)  # other requests may run
        try:
            pictures.append(await service.prepare(file, deadline))
        except RequestError as error:
            raise type(error)(f"File {index} of images: {error}") from None
    return pictures
