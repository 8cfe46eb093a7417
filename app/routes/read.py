"""POST /read: one image with a number on it, its digits from left to right."""

import asyncio
import time

from fastapi import APIRouter, Request, Response

from app.problems import responses
from app.reader import candidates, chosen, open_page, reading
from app.routes.body import ONE_IMAGE, image_in, server_timing
from app.schemas import Reading
from app.service import CurrentService

router = APIRouter(tags=["predict"])


@router.post(
    "/read",
    summary="Read a whole number",
    response_model=Reading,
    responses=responses(400, 413, 415, 422, 503),
    openapi_extra={"requestBody": ONE_IMAGE},
)
async def read(request: Request, response: Response, service: CurrentService) -> Reading:
    """Read a number of up to 20 digits, or several below one another, on plain, ruled or squared paper or in a form.

    Send the image as for `/predict`. The answer has the text, line by line, and where each digit is and how sure it is.
    Digits that touch are taken apart. `accepted` is true where every digit is accepted.
    """
    data = await image_in(request, service)
    started = time.perf_counter()
    page = await asyncio.to_thread(open_page, data, service.settings.max_pixels)
    decode_seconds = time.perf_counter() - started
    scouted = await asyncio.gather(*(service.scout.submit(pixels) for pixels in candidates(page)))
    digits = chosen(page, [completed.result for completed in scouted])
    read = await asyncio.gather(*(service.batcher.submit(digit.pixels) for line in digits for digit in line))
    response.headers["Server-Timing"] = server_timing(
        decode=decode_seconds, infer=time.perf_counter() - started - decode_seconds
    )
    scores = [completed.result for completed in read]
    return reading(page, digits, scores, service.info.thresholds, service.model_id)
