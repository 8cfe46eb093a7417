"""What the service answers: a prediction, a reading of a number, an explanation.

They are plain dataclasses: creating a pydantic model takes nine times as long and would check values that we made
ourselves. The ``Field`` annotations describe each value; ``http/schemas.py`` turns the answers into JSON and OpenAPI.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from app.imaging.formats import Format
from app.imaging.rectangle import Rectangle

Reason = Literal["blank", "not_a_digit", "uncertain", "several_digits", "unread_ink"]
Digit = Annotated[int, Field(ge=0, le=9)]
Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(slots=True)
class BoxInfo:
    """Where ink is, in pixels of the upright picture."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def from_rectangle(cls, rectangle: Rectangle) -> "BoxInfo":
        return cls(left=rectangle.left, top=rectangle.top, width=rectangle.width, height=rectangle.height)


@dataclass(slots=True)
class PictureInfo:
    """The picture that was sent."""

    format: Format
    width: Annotated[int, Field(description="in pixels, upright")]
    height: Annotated[int, Field(description="in pixels, upright")]
    inverted: Annotated[bool, Field(description="whether it was dark on light")]


@dataclass(slots=True)
class PageInfo(PictureInfo):
    """The picture that was sent, and which way up it was read."""

    rotation: Annotated[int, Field(description="degrees clockwise by which it was turned: 0, 90, 180 or 270")]


@dataclass(slots=True)
class InputInfo(PictureInfo):
    """The picture that was sent, and what was done to it before the network read it."""

    normalized: Annotated[bool, Field(description="whether it was cut out, resized and centred like MNIST's digits")]
    box: Annotated[
        BoxInfo | None, Field(description="where the digit is; null if it was not searched for, or without ink")
    ]


@dataclass(slots=True)
class Prediction:
    """The digit in a picture, and whether you can rely on it."""

    digit: Annotated[Digit | None, Field(description="the best guess, accepted or not; null if there is no ink")]
    confidence: Annotated[Probability | None, Field(description="the probability of that digit")]
    probabilities: Annotated[list[float], Field(description="of the digits 0 to 9; empty if there is no ink")]
    accepted: Annotated[bool, Field(description="whether the answer meets the model's thresholds")]
    reason: Annotated[Reason | None, Field(description="why it was not accepted")]
    input: InputInfo
    model: Annotated[str, Field(description="name and version of the model that answered")]
    preview: Annotated[
        str, Field(description="the 28x28 picture that the network saw, as a data: URI; only on request")
    ] = ""


@dataclass(slots=True)
class ReadDigit:
    """One digit of a number."""

    digit: Digit
    confidence: Probability
    accepted: bool
    reason: Reason | None
    box: BoxInfo


@dataclass(slots=True)
class ReadLine:
    """One line of a picture."""

    text: Annotated[str, Field(description="its digits, left to right")]
    numbers: Annotated[list[str], Field(description="the same digits, divided where the gap is wide, as in a table")]
    confidence: Annotated[float, Field(description="the product of its digits' confidences")]
    digits: list[ReadDigit]


@dataclass(slots=True)
class Reading:
    """The numbers in a picture, and whether you can rely on them."""

    text: Annotated[
        str, Field(description="the lines, top to bottom, separated by line feeds; empty if there is no ink")
    ]
    confidence: Annotated[
        Probability | None,
        Field(description="the product of the digits' confidences, times the share of the ink that was read"),
    ]
    accepted: Annotated[
        bool, Field(description="whether every digit meets the model's thresholds, and all ink was read")
    ]
    reason: Annotated[
        Reason | None,
        Field(description="why not: blank, the reason of the first digit that has one, or unread_ink"),
    ]
    lines: list[ReadLine]
    input: PageInfo
    model: Annotated[str, Field(description="name and version of the model that answered")]


@dataclass(slots=True)
class Explanation:
    """Which pixels speak for a digit, and which against it."""

    digit: Annotated[
        Digit | None,
        Field(description="the digit that is explained: the requested one, or the one that was read; null without ink"),
    ]
    confidence: Annotated[Probability | None, Field(description="the probability of that digit")]
    read: Annotated[Digit | None, Field(description="the digit that was read, as /predict answers")]
    evidence: Annotated[
        list[list[Annotated[float, Field(ge=-1, le=1)]]],
        Field(
            description="28 rows of 28 pixels of the preview: above 0 speaks for the digit, as ink or as the lack of "
            "it, below 0 against it; empty if there is no ink"
        ),
    ]
    scale: Annotated[
        Annotated[float, Field(ge=0)] | None,
        Field(
            description="what an evidence of 1 means: by how much the digit's log-odds (natural logarithm) fall for "
            "that pixel, on average over the patches that change it"
        ),
    ]
    accepted: Annotated[bool, Field(description="whether the digit that was read meets the model's thresholds")]
    reason: Annotated[Reason | None, Field(description="why it was not accepted")]
    preview: Annotated[str, Field(description="the 28x28 picture that the network saw, as a data: URI")]
    input: InputInfo
    model: Annotated[str, Field(description="name and version of the model that answered")]
