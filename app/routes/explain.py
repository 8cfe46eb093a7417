"""POST /explain: where on a picture the evidence for a digit lies, as numbers or as a picture."""

import re
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.classifier import answer
from app.explain import evidence, explanation, occluded, overlay
from app.normalize import Mode
from app.problems import TAKING_PICTURES, responses
from app.routes.body import BINARY, ONE_IMAGE, receive_body, server_timing
from app.schemas import Explanation
from app.service import CurrentService
from app.signals import ink_ratio
from app.upload import take_image

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
    responses=DRAWN | responses(*TAKING_PICTURES, 422),
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
    with service.turn() as model:
        started = time.perf_counter()
        picture = await service.prepare(take_image(body.content_type, body.content), body.until, normalize)
        decode_seconds = time.perf_counter() - started
        score, found = None, None
        if not picture.blank:
            score = (await model.inference.one(picture.pixels, body.until)).result
            service.metrics.saw(max(score.probabilities), score.typicality, ink_ratio(picture.pixels))
        prediction = answer(picture, score, model.thresholds, model.id, preview=True)
        service.metrics.predicted(prediction.digit, prediction.accepted)
        explained = prediction.digit if digit is None or picture.blank else digit
        if explained is not None:
            batch = occluded(picture.pixels)
            scores = await model.inference.many(batch, second_opinion=False, until=body.until)
            found = evidence(batch, scores, explained)
    timing = server_timing(decode=decode_seconds, infer=time.perf_counter() - started - decode_seconds)
    headers = {"Server-Timing": timing, "Vary": "Accept"}
    if wants_png(", ".join(request.headers.getlist("accept"))):
        return Response(overlay(picture.pixels, found), headers=headers, media_type=PNG)
    return Response(explanation(prediction, explained, found).to_json(), headers=headers, media_type=JSON)


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
