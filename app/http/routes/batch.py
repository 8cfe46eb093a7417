"""POST /predict/batch: read several images in one request."""

import asyncio
import time
from collections.abc import Iterator

import numpy as np
from fastapi import APIRouter, Request

from app.errors import MalformedRequestError, RequestError
from app.http.image_upload import extract_images
from app.http.openapi import SEVERAL_IMAGES
from app.http.problems import PICTURE_ERRORS, describe_errors, problem_of_item
from app.http.request_body import receive_body
from app.http.responses import RawResponse, respond
from app.http.schemas import Batch, Problem, prediction_to_json
from app.http.state import CurrentService, ServiceState
from app.inference.scores import Score
from app.observability.input_statistics import compute_statistics
from app.recognition.digit import PreparedPicture, make_prediction

router = APIRouter(tags=["predict"])

# After each 16 pictures, which take about 1 ms, other requests may run. Each 16 pictures also extend the deadline.
SLICE = 16


@router.post(
    "/predict/batch",
    summary="Read several images at once",
    response_model=Batch,
    responses=describe_errors(*PICTURE_ERRORS),
    openapi_extra={"requestBody": SEVERAL_IMAGES},
)
async def predict_batch(request: Request, service: CurrentService) -> RawResponse:
    """Read each image of a form as `/predict` does.

    The answers are in the order of the files. If an image cannot be read, its place has the problem, with its status,
    and the others are read as usual.
    """
    limits = service.settings
    body = await receive_body(request, service, limits.max_batch_bytes)
    with service.lease_model() as model:
        started = time.perf_counter()
        files = extract_images(body.content_type, body.content, limits.max_batch)
        deadline = body.deadline + (len(files) // SLICE) * limits.deadline_ms / 1000
        prepared: list[PreparedPicture | Problem] = []
        for index, file in enumerate(files):
            if index % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            prepared.append(await prepare(request, service, file, deadline))
        decoded = time.perf_counter()
        pictures = [picture for picture in prepared if isinstance(picture, PreparedPicture)]
        with_ink = [picture.pixels for picture in pictures if not picture.blank]
        scores: Iterator[Score] = iter(())
        if with_ink:
            images = np.stack(with_ink)
            batch_scores = await model.scheduler.read_many(images, deadline=deadline)
            service.metrics.observe_inputs(compute_statistics(batch_scores, images))
            scores = iter(batch_scores.to_list())
    if "trace" in request.scope:
        request.scope["trace"].add_steps(started, decode=decoded - started, infer=time.perf_counter() - decoded)
    answers: list[bytes] = []
    for index, picture in enumerate(prepared):
        if index % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        if isinstance(picture, Problem):
            answers.append(picture.model_dump_json().encode())
            continue
        score = None if picture.blank else next(scores)
        prediction = make_prediction(picture, score, model.thresholds, model.id)
        service.metrics.count_prediction(prediction.digit, prediction.accepted)
        answers.append(prediction_to_json(prediction))
    return respond(b'{"predictions":[' + b",".join(answers) + b"]}")


async def prepare(request: Request, service: ServiceState, file: bytes, deadline: float) -> PreparedPicture | Problem:
    """Decode and normalise one image, or return its problem if it cannot be read."""
    try:
        if not file:
            raise MalformedRequestError("The file in the form is empty.")
        return await service.prepare(file, deadline)
    except RequestError as error:
        return problem_of_item(request.scope, error)
