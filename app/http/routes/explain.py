"""POST /explain: which pixels speak for a digit and which against it, as numbers or as a picture."""

import re
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from app.http.image_upload import extract_image
from app.http.openapi import BINARY, ONE_IMAGE
from app.http.problems import PICTURE_ERRORS, describe_errors
from app.http.query import Parameters
from app.http.request_body import receive_body
from app.http.responses import RawResponse, format_server_timing, respond
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
MAP_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {"content": {PNG: BINARY}, "description": "The evidence as numbers or as a picture"}
}


class ExplainParameters(Parameters):
    digit: int | None = Field(None, ge=0, le=9, description="The digit to explain; by default the digit that is read.")
    normalize: Mode = Field("auto", description="As in `/predict`.")


@router.post(
    "/explain",
    summary="Show what speaks for a digit",
    response_model=Explanation,
    responses=MAP_RESPONSE | describe_errors(*PICTURE_ERRORS, 422),
    openapi_extra={"requestBody": ONE_IMAGE},
)
async def explain(
    request: Request, service: CurrentService, parameters: Annotated[ExplainParameters, Query()]
) -> RawResponse:
    """Show which ink, and which lack of ink, speaks for a digit or against it.

    Send the image as for `/predict`. The answer has a number for each of the 28x28 pixels. With `Accept: image/png`, it
    is a 280x280 picture in which orange speaks for the digit and blue against it. It explains the reading of the fast
    network.
    """
    body = await receive_body(request, service, service.settings.max_body_bytes)
    with service.lease_model() as model:
        started = time.perf_counter()
        picture = await service.prepare(
            extract_image(body.content_type, body.content), body.deadline, parameters.normalize
        )
        decode_seconds = time.perf_counter() - started
        score, evidence = None, None
        if not picture.blank:
            score = (await model.scheduler.read_one(picture.pixels, body.deadline)).result
            service.metrics.observe_input(max(score.probabilities), score.typicality, ink_ratio(picture.pixels))
        prediction = make_prediction(picture, score, model.thresholds, model.id, preview=True)
        service.metrics.count_prediction(prediction.digit, prediction.accepted)
        explained = prediction.digit if parameters.digit is None or picture.blank else parameters.digit
        if explained is not None:
            batch = occlude(picture.pixels)
            scores = await model.scheduler.read_many(batch, second_opinion=False, deadline=body.deadline)
            evidence = compute_evidence(batch, scores, explained)
    timing = format_server_timing(decode=decode_seconds, infer=time.perf_counter() - started - decode_seconds)
    if wants_png(", ".join(request.headers.getlist("accept"))):
        response = respond(draw_overlay(picture.pixels, evidence), PNG.encode(), timing)
    else:
        answer = make_explanation(prediction, explained, evidence)
        response = respond(explanation_to_json(answer), server_timing=timing)
    response.headers.append((b"vary", b"Accept"))
    return response


def wants_png(accept: str) -> bool:
    """Return whether an Accept header prefers PNG to JSON (RFC 9110, 12.5.1).

    If both have the same quality, the one that the header names more specifically wins. If that is equal too, it is
    JSON.
    """
    qualities: dict[str, float] = {}
    for part in accept.lower().split(","):
        media_range, *parameters = [piece.strip() for piece in part.split(";")]
        quality = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
        if QUALITY.fullmatch(quality):
            qualities[media_range] = float(quality)

    def preference(media_type: str) -> tuple[float, int]:
        """Return the quality of the most specific range that matches a type, and how specific it is."""
        ranges = (media_type, media_type.partition("/")[0] + "/*", "*/*")
        return next(((qualities[name], -place) for place, name in enumerate(ranges) if name in qualities), (0.0, 0))

    return preference(PNG) > max(preference(JSON), (0.0, 0))
