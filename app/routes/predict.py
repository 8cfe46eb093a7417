"""POST /predict: one image in any of three forms, one prediction."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request, Response

from app.classifier import answer, prepare
from app.problems import responses
from app.schemas import EXAMPLE_IMAGE, ImageBody, Prediction
from app.service import CurrentService
from app.upload import read_image

router = APIRouter(tags=["predict"])

SMALL = 32_768  # bytes; an image file over this is decoded in a thread, so that the others need not wait

BINARY = {"schema": {"type": "string", "format": "binary"}}
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "description": "One image, in one of three forms.",
    "content": {
        # First, for Swagger UI shows the first, and this one has an example that can be sent at once.
        "application/json": {
            "schema": ImageBody.model_json_schema(),
            "examples": {"a 5 of MNIST": {"value": {"image": EXAMPLE_IMAGE}}},
        },
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary", "description": "the image file"}},
            }
        },
        "image/png": BINARY,
        "image/jpeg": BINARY,
        "image/webp": BINARY,
        "image/bmp": BINARY,
        "image/gif": BINARY,
        "application/octet-stream": BINARY,
    },
}


@router.post(
    "/predict",
    summary="Read one digit",
    response_model=Prediction,
    responses=responses(400, 413, 415, 422, 503),
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def predict(request: Request, response: Response, service: CurrentService) -> Prediction:
    """Read the handwritten digit in an image.

    Send the image as a form's file, as the body itself, or as base64 in JSON: PNG, JPEG, WebP, BMP or GIF, light on
    dark or dark on light. The answer has the digit, the probabilities of all ten, and whether it can be relied on:
    when `accepted` is false, `reason` says why, and `digit` is only the best guess.
    """
    headers = request.headers
    data = await read_image(
        headers.get("content-type"), headers.get("content-length"), request.stream(), service.settings.max_body_bytes
    )
    started = time.perf_counter()
    max_pixels = service.settings.max_pixels
    picture = prepare(data, max_pixels) if len(data) <= SMALL else await asyncio.to_thread(prepare, data, max_pixels)
    decode_seconds = time.perf_counter() - started
    score, queue_seconds, run_seconds = None, 0.0, 0.0
    if not picture.blank:
        completed = await service.batcher.submit(picture.pixels)
        score, queue_seconds, run_seconds = completed.result, completed.queue_seconds, completed.run_seconds
    response.headers["Server-Timing"] = (
        f"decode;dur={decode_seconds * 1e3:.3f}, queue;dur={queue_seconds * 1e3:.3f}, infer;dur={run_seconds * 1e3:.3f}"
    )
    return answer(picture, score, service.info.thresholds, service.model_id)
