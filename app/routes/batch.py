"""POST /predict/batch: several images in one request, an answer for each."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from app.classifier import Prepared, Score, answer, listed
from app.errors import MalformedRequestError, RequestError
from app.problems import TAKING_PICTURES, in_place_of_answer, responses
from app.routes.body import receive_body
from app.schemas import Batch, Problem
from app.service import CurrentService, Service
from app.signals import signals
from app.upload import take_images

router = APIRouter(tags=["predict"])

SLICE = 16  # pictures that are decoded, or answered, before other requests have their turn: a millisecond;
# and for which a request has its deadline once more

FILES: dict[str, Any] = {
    "required": True,
    "description": "Several images, each a file part of one form.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
                },
            }
        }
    },
}


@router.post(
    "/predict/batch",
    summary="Read several images at once",
    response_model=Batch,
    responses=responses(*TAKING_PICTURES),
    openapi_extra={"requestBody": FILES},
)
async def predict_batch(request: Request, service: CurrentService) -> Response:
    """Read each image of a form as `/predict` would.

    The answers are in the order of the files. An image that cannot be read does not spoil the others: it has the
    problem, with its status, in its own place.
    """
    limits = service.settings
    body = await receive_body(request.scope, request.receive, service, limits.max_batch_bytes)
    with service.turn() as model:
        started = time.perf_counter()
        files = take_images(body.content_type, body.content, limits.max_batch)
        until = body.until + (len(files) // SLICE) * limits.deadline_ms / 1000
        prepared: list[Prepared | Problem] = []
        for index, file in enumerate(files):
            if index % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            prepared.append(await prepare_or_tell(request, service, file, until))
        decoded = time.perf_counter()
        pictures = [picture for picture in prepared if isinstance(picture, Prepared)]
        with_ink = [picture.pixels for picture in pictures if not picture.blank]
        scores: Iterator[Score] = iter(())
        if with_ink:
            images = np.stack(with_ink)
            found = await model.inference.many(images, until=until)
            service.metrics.saw_all(signals(found, images))
            scores = iter(listed(found))
    if "trace" in request.scope:
        request.scope["trace"].steps(started, decode=decoded - started, infer=time.perf_counter() - decoded)
    answers: list[bytes] = []
    for index, picture in enumerate(prepared):
        if index % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        if isinstance(picture, Problem):
            answers.append(picture.model_dump_json().encode())
            continue
        score = None if picture.blank else next(scores)
        prediction = answer(picture, score, model.thresholds, model.id)
        service.metrics.predicted(prediction.digit, prediction.accepted)
        answers.append(prediction.to_json())
    return Response(b'{"predictions":[' + b",".join(answers) + b"]}", media_type="application/json")


async def prepare_or_tell(request: Request, service: Service, file: bytes, until: float) -> Prepared | Problem:
    try:
        if not file:
            raise MalformedRequestError("The file in the form is empty.")
        return await service.prepare(file, until)
    except RequestError as error:
        return in_place_of_answer(request.scope, error)
