"""POST /predict: one image in any of three forms, one prediction."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.types import Receive, Scope

from app.classifier import answer
from app.normalize import Mode
from app.problems import TAKING_PICTURES, responses
from app.routes.body import ONE_IMAGE, RawHeaders, receive_body, server_timing, whole
from app.schemas import Prediction
from app.service import CurrentService, Service
from app.signals import ink_ratio
from app.upload import take_image

router = APIRouter(tags=["predict"])


@router.post(
    "/predict",
    summary="Read one digit",
    response_model=Prediction,
    responses=responses(*TAKING_PICTURES, 422),
    openapi_extra={"requestBody": ONE_IMAGE},
)
async def predict(
    request: Request,
    service: CurrentService,
    normalize: Annotated[
        Mode,
        Query(
            description="auto: a picture that is not as MNIST has it already is cut out, fitted and centred; "
            "always: every picture is; never: it is only resized to 28x28."
        ),
    ] = "auto",
    preview: Annotated[bool, Query(description="Whether to add the 28x28 picture that the network saw.")] = False,
) -> Response:
    """Read the handwritten digit in an image.

    Send the image as a form's file, as the body itself, or as base64 in JSON: PNG, JPEG, WebP, BMP or GIF; a scan, a
    drawing or a photograph, light on dark or dark on light. The answer has the digit, the probabilities of all ten, and
    whether it can be relied on: when `accepted` is false, `reason` says why, and `digit` is only the best guess. A
    picture with several digits is for `/read`.
    """
    return whole(*await read_digit(request.scope, request.receive, service, normalize, preview))


async def read_digit(
    scope: Scope, receive: Receive, service: Service, mode: Mode = "auto", preview: bool = False
) -> tuple[bytes, RawHeaders]:
    """Answer a request: the prediction as JSON, and the headers that go with it.

    Raises:
        DigitserveError: it cannot be answered.
        ClientDisconnect: nobody waits for the answer any more.
    """
    body = await receive_body(scope, receive, service, service.settings.max_body_bytes)
    with service.turn() as model:
        started = time.perf_counter()
        picture = await service.prepare(take_image(body.content_type, body.content), body.until, mode)
        decode_seconds = time.perf_counter() - started
        score, queue_seconds, run_seconds = None, 0.0, 0.0
        if not picture.blank:
            completed = await model.inference.one(picture.pixels, body.until)
            score, queue_seconds, run_seconds = completed.result, completed.queue_seconds, completed.run_seconds
            service.metrics.queued(queue_seconds)
    prediction = answer(picture, score, model.thresholds, model.id, preview)
    if score is not None:
        service.metrics.saw(prediction.confidence or 0.0, score.typicality, ink_ratio(picture.pixels))
    service.metrics.predicted(prediction.digit, prediction.accepted)
    timing = server_timing(decode=decode_seconds, queue=queue_seconds, infer=run_seconds)
    if "trace" in scope:
        scope["trace"].steps(started, decode=decode_seconds, queue=queue_seconds, infer=run_seconds)
    return prediction.to_json(), [(b"content-type", b"application/json"), (b"server-timing", timing.encode())]
