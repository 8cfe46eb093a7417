"""POST /v2/models/NAME/infer: read digits from tensors, by the Open Inference Protocol, version 2."""

import asyncio
import time
from collections import Counter
from typing import Any

import numpy as np
from fastapi import APIRouter, Request

from app.errors import MalformedRequestError, RequestError
from app.http.request_body import receive_body
from app.http.responses import RawResponse, respond
from app.http.routes.open_inference import describe_protocol_errors, require_model
from app.http.state import CurrentService, ServiceState
from app.http.tensors import LARGE_JSON_BYTES, InferenceResponse, make_outputs, parse_request, write_response
from app.imaging.digit_image import IMAGE_SIZE
from app.observability.input_statistics import compute_statistics
from app.recognition.digit import PreparedPicture

HEADER_LENGTH = "Inference-Header-Content-Length"  # bytes of JSON before the binary tensors
IMAGES_PER_DEADLINE = 16  # each 16 images extend the deadline, as in a batch

router = APIRouter(prefix="/v2", tags=["open inference protocol"])

BODY: dict[str, Any] = {
    "parameters": [
        {
            "name": HEADER_LENGTH,
            "in": "header",
            "description": "Bytes of the JSON, if binary tensors follow it.",
            "schema": {"type": "integer"},
        }
    ],
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
    },
}
INFER: dict[str, Any] = {
    "summary": "Read digits from tensors",
    "response_model": InferenceResponse,
    "responses": describe_protocol_errors(400, 401, 404, 408, 413, 415, 422, 503, 504),
    "openapi_extra": BODY,
}


@router.post("/models/{name}/infer", **INFER)
async def infer(request: Request, service: CurrentService, name: str) -> RawResponse:
    """Read a batch of images: 28x28, light ink on black, values from 0 to 255. They are not normalised.

    Or read a batch of image files, with the datatype `BYTES`. They are normalised as for `/predict`. If one of them
    cannot be read, none is. `accepted` says whether an answer meets the model's thresholds.
    """
    return await read_tensors(request, service, name)


@router.post("/models/{name}/versions/{version}/infer", **INFER)
async def infer_with_version(request: Request, service: CurrentService, name: str, version: str) -> RawResponse:
    """Read a batch of images with this version of the model, or answer 404 if the service has another one."""
    return await read_tensors(request, service, name, version)


async def read_tensors(
    http_request: Request, service: ServiceState, name: str, version: str | None = None
) -> RawResponse:
    """Answer a request with JSON, and the binary tensors that it asks for.

    Raises:
        DigitserveError: The request cannot be answered.
        ClientDisconnect: The client has disconnected.
    """
    require_model(service.model, name, version)
    _, body, deadline = await receive_body(http_request, service, service.settings.max_batch_bytes)
    length = http_request.headers.get(HEADER_LENGTH)
    if length is not None and not (length.isdecimal() and len(length) < 16 and int(length) <= len(body)):
        raise MalformedRequestError(f"{HEADER_LENGTH} must be a number of bytes, up to the length of the body.")
    json_length = int(length) if length is not None else len(body)
    arguments = (body, json_length, service.settings.max_batch)
    with service.lease_model() as model:
        started = time.perf_counter()
        require_model(model, name, version)  # again: a reload may have replaced it while the body arrived
        if json_length > LARGE_JSON_BYTES:
            request, images = await service.run_in_pool(deadline, parse_request, *arguments)
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
    if "trace" in http_request.scope:
        http_request.scope["trace"].add_steps(started, decode=decoded - started, infer=time.perf_counter() - decoded)
    counts = Counter(zip(outputs["digit"].tolist(), outputs["accepted"].tolist(), strict=True))
    for (digit, accepted), count in counts.items():
        service.metrics.count_prediction(digit, accepted, count)
    response, binary = write_response(request, outputs, model.name, model.version)
    if not binary:
        return respond(response)
    with_tensors = respond(response + binary, b"application/octet-stream")
    with_tensors.headers.append((HEADER_LENGTH.lower().encode(), b"%d" % len(response)))
    return with_tensors


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
