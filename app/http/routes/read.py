"""POST /read: read the numbers in one image."""

import time
from functools import partial

import numpy as np
from fastapi import APIRouter, Request

from app.http.image_upload import extract_image
from app.http.openapi import ONE_IMAGE
from app.http.problems import PICTURE_ERRORS, describe_errors
from app.http.request_body import receive_body
from app.http.responses import RawResponse, format_server_timing, respond
from app.http.schemas import reading_to_json
from app.http.state import CurrentService
from app.imaging.digit_image import Grey
from app.imaging.ink import ink_ratio
from app.inference.loaded_model import LoadedModel
from app.inference.scores import Score
from app.recognition.answers import Reading
from app.recognition.number import make_reading
from app.recognition.page import open_page, turn_page
from app.recognition.selection import find_digits

TURN_SHARE = 0.4  # of the time until the deadline: after that, no page is turned any more

router = APIRouter(tags=["predict"])


@router.post(
    "/read",
    summary="Read a whole number",
    response_model=Reading,
    responses=describe_errors(*PICTURE_ERRORS, 422),
    openapi_extra={"requestBody": ONE_IMAGE},
)
async def read(request: Request, service: CurrentService) -> RawResponse:
    """Read a number of up to 20 digits, or several below one another, on plain, ruled or squared paper or in a form.

    Send the image as for `/predict`. The answer has the text line by line, and for each digit its place and how sure it
    is. Digits that touch are separated. `text` has all digits of a line together; `numbers` divides them where the gap
    is wide. A page on its side or upside down is turned first; `input.rotation` says by how much. `accepted` is true if
    every digit is accepted and all ink was read.
    """
    body = await receive_body(request, service, service.settings.max_body_bytes)
    with service.lease_model() as model:
        started = time.perf_counter()
        page = await service.process_in_pool(extract_image(body.content_type, body.content), body.deadline, open_page)
        decode_seconds = time.perf_counter() - started
        last_turn = started + TURN_SHARE * (body.deadline - started)
        selection = await find_digits(
            page,
            model.thresholds,
            partial(score_all, model, body.deadline, second_opinion=False),
            lambda page, quarter_turns: service.run_in_pool(last_turn, turn_page, page, quarter_turns),
        )
        pictures = selection.pictures
        scores = await score_all(model, body.deadline, pictures)
    infer_seconds = time.perf_counter() - started - decode_seconds
    if "trace" in request.scope:
        request.scope["trace"].add_steps(started, decode=decode_seconds, infer=infer_seconds)
    reading = make_reading(selection, scores, model.thresholds, model.id)
    read_digits = [digit for line in reading.lines for digit in line.digits]
    for digit, score, pixels in zip(read_digits, scores, pictures, strict=True):
        service.metrics.count_prediction(digit.digit, digit.accepted)
        service.metrics.observe_input(digit.confidence, score.typicality, ink_ratio(pixels))
    timing = format_server_timing(decode=decode_seconds, infer=infer_seconds)
    return respond(reading_to_json(reading), server_timing=timing)


async def score_all(
    model: LoadedModel, deadline: float, pictures: list[Grey], second_opinion: bool = True
) -> list[Score]:
    """Score any number of pictures, or none."""
    if not pictures:
        return []
    return (await model.scheduler.read_many(np.stack(pictures), second_opinion, deadline)).to_list()
