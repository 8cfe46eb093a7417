"""The requests and responses of the API as the OpenAPI document shows them, and how answers become JSON.

The answers themselves are the dataclasses in ``recognition/answers.py``.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.inference.model_folder import Thresholds
from app.recognition.answers import Explanation, Prediction, Reading

# A digit from MNIST's training split as a 28x28 PNG, for the examples in the OpenAPI document.
EXAMPLE_DIGIT = 5
EXAMPLE_IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAA/UlEQVR42mNgGMyAWUhIqK5jvdSy/9/rGRgYGFhgEnJsVjYCwQwM"
    "DAxPJgV+vniQgYGBgREqZ7iXH8r6l/SV4dn7m8gmCt3++/fv37/Htn3/iMW+gDnZf/+e5WbQnoXNNXyMs/5GoQoxwVmf/n9kSGHC"
    "6RPufX/dcPtT+ePDBTmMuGQDP/z9Wy6JS1Z319+/06RxyQrE/vm7G7fFP//+dIAyWVBl9EJMWRiuHcKmSX3K079///7ahkVKouju"
    "379//570w5QSd7r69+/fv8cCMQNJaPXtv3///j0cwIkhZb7m0d+/f/9+aeVGFWdhYGBgCAxkYLi++W/PB/qkRgBFF16AdZECmAAA"
    "AABJRU5ErkJggg=="
)

EXAMPLE_PREDICTION = {
    "digit": 7,
    "confidence": 0.9994,
    "probabilities": [0.0, 0.0001, 0.0001, 0.0001, 0.0, 0.0, 0.0, 0.9994, 0.0, 0.0003],
    "accepted": True,
    "reason": None,
    "input": {"format": "PNG", "width": 28, "height": 28, "inverted": False, "normalized": False, "box": None},
    "model": "digitnet-1.7.0",
}


class Answer(BaseModel):
    """The base of the responses: frozen, and without defaults, so that the schema lists every field as required."""

    model_config = ConfigDict(frozen=True)


class ImageBody(BaseModel):
    """The JSON form of a request."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"image": EXAMPLE_IMAGE}]})

    image: str = Field(description="The image file in base64, bare or as a data: URI.")


class Problem(Answer):
    """An error in the form of RFC 9457 (application/problem+json)."""

    type: str = Field(description="the kind of error; stable", examples=["urn:problem-type:digitserve:broken-image"])
    title: str = Field(description="the kind of error in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what is wrong with this request, and how to correct it")
    request_id: str = Field(description="the X-Request-ID of this request")


class Batch(Answer):
    """An answer for each picture of a request."""

    predictions: list[Prediction | Problem] = Field(
        description="in the order of the files; a picture that cannot be read has a problem instead"
    )


class Health(Answer):
    """The state of the service."""

    status: Literal["ok"]


class ModelInfo(Answer):
    """The model that the service uses."""

    name: str
    version: str
    sha256: str = Field(description="of the manifest, which contains the SHA-256 of every other file")
    created: str
    networks: dict[str, Any] = Field(description="architecture, parameters and multiply-adds of each network")
    training: dict[str, Any] = Field(description="recipe, seed and data")
    metrics: dict[str, Any] = Field(description="what was measured, by split and engine")


class Limits(Answer):
    """The limits on requests."""

    max_body_bytes: int
    max_pixels: int
    max_inflight: int = Field(description="complete requests that may wait for an answer at the same time")
    max_inflight_pixels: int = Field(description="pixels of large pictures that may be decoded at the same time")
    max_batch: int = Field(description="pictures in one request")
    max_batch_bytes: int
    deadline_ms: int = Field(description="from the last byte of the request; a batch gets it again per 16 pictures")


class Reload(Answer):
    """The result of the last reload of the model."""

    outcome: Literal["taken", "unchanged", "failed"]
    at: str = Field(description="ISO 8601, UTC")
    detail: str


class Info(Answer):
    """What the service is running."""

    version: str = Field(description="the version of digitserve")
    model: ModelInfo
    engine: Literal["onnxruntime", "torch"]
    device: str
    limits: Limits
    thresholds: Thresholds
    last_reload: Reload | None = Field(None, description="null if there was none since the start")


PREDICTION = TypeAdapter(Prediction).serializer
READING = TypeAdapter(Reading).serializer
EXPLANATION = TypeAdapter(Explanation).serializer


def prediction_to_json(prediction: Prediction) -> bytes:
    """Serialise a prediction as the API sends it: without the preview, unless it was requested."""
    return PREDICTION.to_json(prediction, exclude_defaults=True)


def prediction_to_dict(prediction: Prediction) -> dict[str, Any]:
    """Return the same as plain values."""
    values: dict[str, Any] = PREDICTION.to_python(prediction, exclude_defaults=True)
    return values


def reading_to_json(reading: Reading) -> bytes:
    """Serialise a reading as the API sends it."""
    return READING.to_json(reading)


def reading_to_dict(reading: Reading) -> dict[str, Any]:
    """Return the same as plain values."""
    values: dict[str, Any] = READING.to_python(reading)
    return values


def explanation_to_json(explanation: Explanation) -> bytes:
    """Serialise an explanation as the API sends it."""
    return EXPLANATION.to_json(explanation)
