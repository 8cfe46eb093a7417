"""POST /predict: one image in any of three forms, one prediction."""

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.classifier import answer, prepare
from app.normalize import Mode
from app.problems import responses
from app.routes.body import ONE_IMAGE, SMALL, image_in, server_timing
from app.schemas import Prediction
from app.service import CurrentService

router = APIRouter(tags=["predict"])


@router.post(
    "/predict",
    summary="Read one digit",
    response_model=Prediction,
    response_model_exclude_unset=True,  # preview is there only where it was asked for
    responses=responses(400, 413, 415, 422, 503),
    openapi_extra={"requestBody": ONE_IMAGE},
)
async def predict(
    request: Request,
    response: Response,
    service: CurrentService,
    normalize: Annotated[
        Mode,
        Query(
            description="auto: a picture that is not as MNIST has it already is cut out, fitted and centred; "
            "always: every picture is; never: it is only resized to 28x28."
        ),
    ] = "auto",
    preview: Annotated[bool, Query(description="Whether to add the 28x28 picture that the network saw.")] = False,
) -> Prediction:
    """Read the handwritten digit in an image.

    Send the image as a form's file, as the body itself, or as base64 in JSON: PNG, JPEG, WebP, BMP or GIF; a scan, a
    drawing or a photograph, light on dark or dark on light. The answer has the digit, the probabilities of all ten, and
    whether it can be relied on: when `accepted` is false, `reason` says why, and `digit` is only the best guess. A
    picture with several digits is for `/read`.
    """
    data = await image_in(request, service)
    started = time.perf_counter()
    steps = (data, service.settings.max_pixels, normalize)
    picture = prepare(*steps) if len(data) <= SMALL else await asyncio.to_thread(prepare, *steps)
    decode_seconds = time.perf_counter() - started
    score, queue_seconds, run_seconds = None, 0.0, 0.0
    if not picture.blank:
        completed = await service.batcher.submit(picture.pixels)
        score, queue_seconds, run_seconds = completed.result, completed.queue_seconds, completed.run_seconds
    response.headers["Server-Timing"] = server_timing(decode=decode_seconds, queue=queue_seconds, infer=run_seconds)
    return answer(picture, score, service.info.thresholds, service.model_id, preview)
