"""An image file to a prediction: decode, normalise, score, decide.

The steps are plain functions, so that the service (which scores in batches) and the command line (which does not) use
the same ones.
"""

from typing import NamedTuple

from app.imaging.decode import Picture, decode
from app.imaging.digit_image import Grey
from app.imaging.encode import to_data_uri
from app.imaging.formats import Format
from app.imaging.normalize import Mode, normalize
from app.imaging.rectangle import Rectangle
from app.inference.model_folder import Thresholds
from app.inference.scores import Score
from app.recognition.answers import BoxInfo, InputInfo, Prediction, Reason


class PreparedPicture(NamedTuple):
    """A picture that is ready for a network, and what was done to it."""

    pixels: Grey  # (28, 28)
    format: Format
    width: int  # pixels of the upright picture
    height: int
    normalized: bool
    inverted: bool
    blank: bool
    several: bool  # it shows the ink of more than one digit
    box: Rectangle | None


def prepare_file(data: bytes, max_pixels: int, mode: Mode = "auto") -> PreparedPicture:
    """Decode and normalise an image file.

    Raises:
        RequestError: It is not an image that we accept.
    """
    return prepare_picture(decode(data, max_pixels), mode)


def prepare_picture(picture: Picture, mode: Mode = "auto") -> PreparedPicture:
    """Normalise a decoded picture."""
    result = normalize(picture.pixels, mode)
    box = picture.to_full_size(result.box) if result.box else None
    return PreparedPicture(
        result.pixels,
        picture.format,
        picture.width,
        picture.height,
        result.normalized,
        result.inverted,
        result.blank,
        result.several,
        box,
    )


def make_prediction(
    picture: PreparedPicture, score: Score | None, thresholds: Thresholds, model: str, preview: bool = False
) -> Prediction:
    """Turn a score into a digit, and compare it with the model's thresholds. A blank picture needs no score."""
    reason: Reason | None = None
    if score is None or picture.blank:
        reason = "blank"
        digit, confidence, probabilities = None, None, list[float]()
    else:
        probabilities = list(score.probabilities)
        confidence = max(probabilities)
        digit = probabilities.index(confidence)
        reason = "several_digits" if picture.several else refusal_reason(confidence, score.typicality, thresholds)
    return Prediction(
        digit=digit,
        confidence=confidence,
        probabilities=probabilities,
        accepted=reason is None,
        reason=reason,
        input=InputInfo(
            format=picture.format,
            width=picture.width,
            height=picture.height,
            inverted=picture.inverted,
            normalized=picture.normalized,
            box=BoxInfo.from_rectangle(picture.box) if picture.box else None,
        ),
        model=model,
        preview=to_data_uri(picture.pixels) if preview else "",
    )


def refusal_reason(confidence: float, typicality: float, thresholds: Thresholds) -> Reason | None:
    """Return why an answer is refused, or None if it is accepted."""
    if typicality < thresholds.typicality:
        return "not_a_digit"
    return "uncertain" if confidence < thresholds.confidence else None
