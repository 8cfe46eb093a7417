"""POST /predict: read one digit."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field

from app.http.image_upload import extract_image
from app.http.openapi import ONE_IMAGE
from app.http.problems import PICTURE_ERRORS, describe_errors
from app.http.query import Parameters
from app.http.request_body import receive_body
from app.http.responses import RawResponse, format_server_timing, respond
from app.http.schemas import prediction_to_json
from app.http.state import CurrentService, ServiceState
from app.imaging.ink import ink_ratio
from app.imaging.normalize import Mode
from app.inference.batching import Completed
from app.inference.loaded_model import LoadedModel
from app.inference.scores import Score
from app.recognition.answers import Prediction
from app.recognition.digit import PreparedPicture, make_prediction

NOT_READ = Completed(None, 0.0, 0.0)  # stands for the score of a blank picture

router = APIRouter(tags=["predict"])


class PredictParameters(Parameters):
    normalize: Mode = Field(
        "auto",
        description="auto: cut out, resize and centre the digit, unless the picture already looks like MNIST; "
        "always: do so with every picture; never: only resize the picture to 28x28.",
    )
    preview: bool = Field(False, description="Add the 28x28 picture that the network saw.")


@router.post(
    "/predict",
    summary="Read one digit",
    response_model=Prediction,
    responses=describe_errors(*PICTURE_ERRORS, 422),
    openapi_extra={"requestBody": ONE_IMAGE},
)
async def predict(
    request: Request, service: CurrentService, parameters: Annotated[PredictParameters, Query()]
) -> RawResponse:
    """Read the handwritten digit in an image.

    Send the image as a file of a form, as the body itself, or as base64 in JSON. It may be PNG, JPEG, WebP, BMP or GIF,
    and HEIC or TIFF if the operator has installed the extra for them. It may be a scan, a drawing or a photograph,
    light on dark or dark on light. The answer has the digit, the probabilities of all ten digits, and whether you can
    rely on it: if `accepted` is false, `reason` says why, and `digit` is only the best guess. If the picture shows
    several digits, use `/read`.
    """
    body = await receive_body(request, service, service.settings.max_body_bytes)
    with service.lease_model() as model:
        started = time.perf_counter()
        picture = await service.prepare(
            extract_image(body.content_type, body.content), body.deadline, parameters.normalize
        )
        decode_seconds = time.perf_counter() - started
        completed = NOT_READ if picture.blank else await model.scheduler.read_one(picture.pixels, body.deadline)
    response = write_answer(service, model, picture, completed, decode_seconds, parameters.preview)
    if "trace" in request.scope:
        _, queue_seconds, run_seconds = completed
        request.scope["trace"].add_steps(started, decode=decode_seconds, queue=queue_seconds, infer=run_seconds)
    return response


def write_answer(
    service: ServiceState,
    model: LoadedModel,
    picture: PreparedPicture,
    completed: Completed[Score] | Completed[None],
    decode_seconds: float,
    preview: bool = False,
) -> RawResponse:
    """Write the answer for a picture, and count it.

    Args:
        completed: The picture's score, or ``NOT_READ`` if the picture is blank.
    """
    score, queue_seconds, run_seconds = completed
    prediction = make_prediction(picture, score, model.thresholds, model.id, preview)
    if score is not None:
        service.metrics.observe_queue(queue_seconds)
        service.metrics.observe_input(prediction.confidence or 0.0, score.typicality, ink_ratio(picture.pixels))
    service.metrics.count_prediction(prediction.digit, prediction.accepted)
    timing = format_server_timing(decode=decode_seconds, queue=queue_seconds, infer=run_seconds)
    return respond(prediction_to_json(prediction), server_timing=timing)
