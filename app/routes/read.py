"""POST /read: one image with a number on it, its digits from left to right."""

import time

import numpy as np
from fastapi import APIRouter, Request, Response

from app.classifier import Score, listed
from app.normalize import Grey
from app.problems import TAKING_PICTURES, responses
from app.reader import candidates, chosen, open_page, reading
from app.routes.body import ONE_IMAGE, receive_body, server_timing
from app.schemas import Reading
from app.service import CurrentService
from app.serving import ServingModel
from app.signals import ink_ratio
from app.upload import take_image

router = APIRouter(tags=["predict"])


@router.post(
    "/read",
    summary="Read a whole number",
    response_model=Reading,
    responses=responses(*TAKING_PICTURES, 422),
    openapi_extra={"requestBody": ONE_IMAGE},
)
async def read(request: Request, response: Response, service: CurrentService) -> Reading:
    """Read a number of up to 20 digits, or several below one another, on plain, ruled or squared paper or in a form.

    Send the image as for `/predict`. The answer has the text, line by line, and where each digit is and how sure it is.
    Digits that touch are taken apart. `accepted` is true where every digit is accepted.
    """
    body = await receive_body(request.scope, request.receive, service, service.settings.max_body_bytes)
    with service.turn() as model:
        started = time.perf_counter()
        page = await service.work_on(take_image(body.content_type, body.content), body.until, open_page)
        decode_seconds = time.perf_counter() - started
        digits = chosen(page, await scores_of(model, candidates(page), body.until, second_opinion=False))
        pictures = [digit.pixels for line in digits for digit in line]
        scores = await scores_of(model, pictures, body.until)
    infer_seconds = time.perf_counter() - started - decode_seconds
    response.headers["Server-Timing"] = server_timing(decode=decode_seconds, infer=infer_seconds)
    if "trace" in request.scope:
        request.scope["trace"].steps(started, decode=decode_seconds, infer=infer_seconds)
    answer = reading(page, digits, scores, model.thresholds, model.id)
    read_digits = [digit for line in answer.lines for digit in line.digits]
    for digit, score, pixels in zip(read_digits, scores, pictures, strict=True):
        service.metrics.predicted(digit.digit, digit.accepted)
        service.metrics.saw(digit.confidence, score.typicality, ink_ratio(pixels))
    return answer


async def scores_of(
    model: ServingModel, pictures: list[Grey], until: float, second_opinion: bool = True
) -> list[Score]:
    if not pictures:
        return []
    return listed(await model.inference.many(np.stack(pictures), second_opinion, until))
