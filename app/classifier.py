"""An image file -> a prediction: decode, normalise, score, answer.

The steps are plain functions, so that the service (which scores in batches) and the command line (which does not) are
made of the same ones. Knows nothing of HTTP.
"""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from app.box import Box
from app.bundle import Thresholds
from app.engine import Engine, Scores, below
from app.image import Format, Picture, decode
from app.normalize import SIZE, Grey, Mode, normalize
from app.schemas import BoxInfo, InputInfo, Prediction, Reason


class Prepared(NamedTuple):
    """A picture ready for a network, and how it came to be so."""

    pixels: Grey  # (28, 28)
    format: Format
    width: int
    height: int
    normalized: bool
    inverted: bool
    blank: bool
    several: bool
    box: Box | None


class Score(NamedTuple):
    """What a network makes of one picture."""

    probabilities: Sequence[float]  # ten, summing to 1
    typicality: float
    unsure: bool = False  # a second opinion is due


def prepare(data: bytes, max_pixels: int, mode: Mode = "auto") -> Prepared:
    """Decode and normalise an image file.

    Raises:
        RequestError: it is no image that we take.
    """
    return prepare_decoded(decode(data, max_pixels), mode)


def prepare_decoded(picture: Picture, mode: Mode = "auto") -> Prepared:
    """Normalise a picture."""
    result = normalize(picture.pixels, mode)
    box = picture.in_picture(result.box) if result.box else None
    return Prepared(
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


def score(engine: Engine, pictures: Sequence[Grey], gate: Thresholds | None = None) -> list[Score]:
    """Run up to a batch of ``(28, 28)`` pictures through an engine, and tell what a gate does not let pass."""
    return listed(engine(np.concatenate(pictures).reshape(-1, SIZE, SIZE)), gate)  # np.stack takes twice as long


def listed(scores: Scores, gate: Thresholds | None = None) -> list[Score]:
    """The scores of a batch, a picture each."""
    unsure = below(scores, gate).tolist() if gate else [False] * len(scores.typicality)
    probabilities = scores.probabilities.astype(np.float64).round(6).tolist()
    return list(map(Score, probabilities, scores.typicality.tolist(), unsure))


def answer(
    picture: Prepared, score: Score | None, thresholds: Thresholds, model: str, preview: bool = False
) -> Prediction:
    """Read a score as a digit, and hold it against the model's thresholds. A blank picture needs no score."""
    reason: Reason | None = None
    if score is None or picture.blank:
        reason = "blank"
        digit, confidence, probabilities = None, None, list[float]()
    else:
        probabilities = list(score.probabilities)
        confidence = max(probabilities)
        digit = probabilities.index(confidence)
        reason = "several_digits" if picture.several else doubt(confidence, score.typicality, thresholds)
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
            box=BoxInfo.of(picture.box) if picture.box else None,
        ),
        model=model,
        preview=as_data_uri(picture.pixels) if preview else "",
    )


def doubt(confidence: float, typicality: float, thresholds: Thresholds) -> Reason | None:
    """Why an answer is not to be relied on, or None where it is."""
    if typicality < thresholds.typicality:
        return "not_a_digit"
    return "uncertain" if confidence < thresholds.confidence else None


def as_data_uri(grey: Grey) -> str:
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
