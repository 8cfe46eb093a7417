"""POST /explain: where on a picture the evidence for a digit lies, as numbers or as a picture."""

import re
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.http.image_upload import extract_image
from app.http.openapi import BINARY, ONE_IMAGE
from app.http.problems import PICTURE_ERRORS, describe_errors
from app.http.request_body import receive_body
from app.http.responses import format_server_timing
from app.http.schemas import explanation_to_json
from app.http.state import CurrentService
from app.imaging.ink import ink_ratio
from app.imaging.normalize import Mode
from app.recognition.answers import Explanation
from app.recognition.digit import make_prediction
from app.recognition.explanation import compute_evidence, draw_overlay, make_explanation, occlude

router = APIRouter(tags=["predict"])

JSON, PNG = "application/json", "image/png"
QUALITY = re.compile(r"[01](\.\d{0,3})?")
DRAWN: dict[int | str, dict[str, Any]] = {
    200: {"content": {PNG: BINARY}, "description": "The evidence as numbers, or drawn over the picture"}
}


@router.post(
    "/explain",
    summary="Show what speaks for a digit",
    response_model=Explanation,
    responses=DRAWN | describe_errors(*PICTURE_ERRORS, 422),
    openapi_extra={"requestBody": ONE_IMAGE},
)
async def explain(
    request: Request,
    service: CurrentService,
    digit: Annotated[
        int | None, Query(ge=0, le=9, description="Whose evidence to show; without it, that of the digit that is read.")
    ] = None,
    normalize: Annotated[Mode, Query(description="As for `/predict`.")] = "auto",
) -> Response:
    """Show which ink, and which lack of ink, speaks for the digit that is read, or against it.

    Send the image as for `/predict`. The answer has a number for each of the 28x28 pixels; with `Accept: image/png` it
    is a picture of 280x280 instead, in which orange speaks for the digit and blue against it. What is explained is the
    fast network's reading.
    """
    body = await receive_body(request.scope, request.receive, service, service.settings.max_body_bytes)
    with service.lease_model() as model:
        started = time.perf_counter()
        picture = await service.prepare(extract_image(body.content_type, body.content), body.deadline, normalize)
        decode_seconds = time.perf_counter() - started
        score, evidence = None, None
        if not picture.blank:
            score = (await model.scheduler.read_one(picture.pixels, body.deadline)).result
            service.metrics.observe_input(max(score.probabilities), score.typicality, ink_ratio(picture.pixels))
        prediction = make_prediction(picture, score, model.thresholds, model.id, preview=True)
        service.metrics.count_prediction(prediction.digit, prediction.accepted)
        explained = prediction.digit if digit is None or picture.blank else digit
        if explained is not None:
            batch = occlude(picture.pixels)
            scores = await model.scheduler.read_many(batch, second_opinion=False, deadline=body.deadline)
            evidence = compute_evidence(batch, scores, explained)
    timing = format_server_timing(decode=decode_seconds, infer=time.perf_counter() - started - decode_seconds)
    headers = {"Server-Timing": timing, "Vary": "Accept"}
    if wants_png(", ".join(request.headers.getlist("accept"))):
        return Response(draw_overlay(picture.pixels, evidence), headers=headers, media_type=PNG)
    return Response(
        explanation_to_json(make_explanation(prediction, explained, evidence)), headers=headers, media_type=JSON
    )


def wants_png(accept: str) -> bool:
    """Tell whether a header Accept likes PNG better than JSON, or as well and by a closer name (RFC 9110, 12.5.1)."""
    asked: dict[str, float] = {}
    for part in accept.lower().split(","):
        kind, *options = [piece.strip() for piece in part.split(";")]
        quality = next((option[2:] for option in options if option.startswith("q=")), "1")
        if QUALITY.fullmatch(quality):
            asked[kind] = float(quality)

    def liking(media: str) -> tuple[float, int]:
        """The quality of the closest name that was asked for, and how close it is."""
        names = (media, media.partition("/")[0] + "/*", "*/*")
        return next(((asked[name], -place) for place, name in enumerate(names) if name in asked), (0.0, 0))

    return liking(PNG) > max(liking(JSON), (0.0, 0))
