"""What the API takes and answers, as its OpenAPI document shows it."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.box import Box
from app.bundle import Thresholds

# A digit of MNIST's training split as a PNG of 28x28, for the examples in the OpenAPI document.
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
    "model": "digitnet-1.5.0",
}

Reason = Literal["blank", "not_a_digit", "uncertain", "several_digits"]


class Answer(BaseModel):
    """Frozen, and described without defaults in its schema: what it names is always there."""

    model_config = ConfigDict(frozen=True)


class ImageBody(BaseModel):
    """The JSON form of a request."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"image": EXAMPLE_IMAGE}]})

    image: str = Field(description="The image file in base64, bare or as a data: URI.")


# What an answer of /predict is made of are dataclasses: pydantic makes its models at nine times the price, and checks
# values that are our own. They are described as the models are.


@dataclass(slots=True)
class BoxInfo:
    """Where ink is, in pixels of the picture, upright."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def of(cls, box: Box) -> "BoxInfo":
        return cls(left=box.left, top=box.top, width=box.width, height=box.height)


@dataclass(slots=True)
class PageInfo:
    """What was sent."""

    format: Literal["PNG", "JPEG", "WEBP", "BMP", "GIF"]
    width: Annotated[int, Field(description="in pixels, upright")]
    height: Annotated[int, Field(description="in pixels, upright")]
    inverted: Annotated[bool, Field(description="whether it was dark on light")]


@dataclass(slots=True)
class InputInfo(PageInfo):
    """What was sent, and what was done to it before it was read."""

    normalized: Annotated[bool, Field(description="whether it was cut out, resized and centred as MNIST's digits are")]
    box: Annotated[
        BoxInfo | None, Field(description="where the digit is; null where it was not looked for, or there is none")
    ]


@dataclass(slots=True)
class Prediction:
    """The digit that is read, and whether it can be relied on."""

    digit: Annotated[
        Annotated[int, Field(ge=0, le=9)] | None,
        Field(description="the best guess, accepted or not; null where there is no ink"),
    ]
    confidence: Annotated[
        Annotated[float, Field(ge=0, le=1)] | None, Field(description="the probability of that digit")
    ]
    probabilities: Annotated[list[float], Field(description="of the digits 0 to 9; empty where there is no ink")]
    accepted: Annotated[bool, Field(description="whether the answer meets the model's thresholds")]
    reason: Annotated[Reason | None, Field(description="why it was not accepted")]
    input: InputInfo
    model: Annotated[str, Field(description="name and version of the model that answered")]
    preview: Annotated[
        str, Field(description="the 28x28 picture that the network saw, as a data: URI; only if asked for")
    ] = ""

    def to_json(self) -> bytes:
        """This as the service answers it: without a preview that nobody asked for."""
        return PREDICTION.to_json(self, exclude_defaults=True)

    def to_dict(self) -> dict[str, Any]:
        """The same, as values."""
        values: dict[str, Any] = PREDICTION.to_python(self, exclude_defaults=True)
        return values


PREDICTION = TypeAdapter(Prediction).serializer


class Explanation(Answer):
    """What speaks for a digit on a picture, and what against it."""

    digit: Annotated[int, Field(ge=0, le=9)] | None = Field(
        description="the digit that is explained: as asked for, else as read; null where there is no ink"
    )
    confidence: Annotated[float, Field(ge=0, le=1)] | None = Field(description="the probability of that digit")
    read: Annotated[int, Field(ge=0, le=9)] | None = Field(description="the digit that is read, as /predict answers")
    evidence: list[list[Annotated[float, Field(ge=-1, le=1)]]] = Field(
        description="28 rows of 28 pixels of the preview: above 0 speaks for the digit, as ink or as the lack of it, "
        "below 0 against it; empty where there is no ink"
    )
    scale: Annotated[float, Field(ge=0)] | None = Field(
        description="what an evidence of 1 stands for: by how much the digit's log-odds (natural logarithm) fall for "
        "that pixel, in the mean over the patches that change it"
    )
    accepted: bool = Field(description="whether the digit that is read meets the model's thresholds")
    reason: Reason | None = Field(description="why it was not accepted")
    preview: str = Field(description="the 28x28 picture that the network saw, as a data: URI")
    input: InputInfo
    model: str = Field(description="name and version of the model that answered")

    def to_json(self) -> bytes:
        """This as the service answers it."""
        return self.__pydantic_serializer__.to_json(self)


class ReadDigit(Answer):
    """One digit of a number."""

    digit: Annotated[int, Field(ge=0, le=9)]
    confidence: Annotated[float, Field(ge=0, le=1)]
    accepted: bool
    reason: Reason | None
    box: BoxInfo


class ReadLine(Answer):
    """One line of a picture."""

    text: str = Field(description="its digits, left to right")
    confidence: float = Field(description="the product of theirs")
    digits: list[ReadDigit]


class Reading(Answer):
    """The numbers on a picture, and whether they can be relied on."""

    text: str = Field(
        description="the lines, top to bottom, with a line feed between them; empty where there is no ink"
    )
    confidence: Annotated[float, Field(ge=0, le=1)] | None = Field(description="the product of the digits'")
    accepted: bool = Field(description="whether every digit meets the model's thresholds")
    reason: Reason | None = Field(description="why not: the first digit's reason that has one, or blank")
    lines: list[ReadLine]
    input: PageInfo
    model: str = Field(description="name and version of the model that answered")


class Problem(Answer):
    """An error, as RFC 9457 has it (application/problem+json)."""

    type: str = Field(description="which kind of error; stable", examples=["urn:problem-type:digitserve:broken-image"])
    title: str = Field(description="that kind in words")
    status: int = Field(description="the HTTP status, again")
    detail: str = Field(description="what is wrong with this request, and what to do")
    request_id: str = Field(description="the X-Request-ID of this request")


class Batch(Answer):
    """An answer for each picture of a request, in order."""

    predictions: list[Prediction | Problem] = Field(
        description="in the order of the files; a picture that cannot be read has its problem in its place"
    )


class Health(Answer):
    """Whether the service is well."""

    status: Literal["ok"]


class ModelInfo(Answer):
    """The model that answers."""

    name: str
    version: str
    sha256: str = Field(description="of the manifest, and through it of every file of the model")
    created: str
    networks: dict[str, Any] = Field(description="architecture, parameters and multiply-adds of each network")
    training: dict[str, Any] = Field(description="recipe, seed and data")
    metrics: dict[str, Any] = Field(description="what was measured, by split and engine")


class Limits(Answer):
    """What a request may be."""

    max_body_bytes: int
    max_pixels: int
    max_inflight: int = Field(description="complete requests that may wait for an answer")
    max_inflight_pixels: int = Field(description="pixels of large pictures that may be under way at once")
    max_batch: int = Field(description="pictures in one request")
    max_batch_bytes: int
    deadline_ms: int = Field(description="from a request's last byte; in a batch, for each 16 of its pictures")


class Reload(Answer):
    """What came of the last look for a new model."""

    outcome: Literal["taken", "unchanged", "failed"]
    at: str = Field(description="ISO 8601, UTC")
    detail: str


class Info(Answer):
    """What runs here."""

    version: str = Field(description="of digitserve")
    model: ModelInfo
    engine: Literal["onnxruntime", "torch"]
    device: str
    limits: Limits
    thresholds: Thresholds
    last_reload: Reload | None = Field(None, description="null where there was none since the start")
