"""From a picture and a score to an answer."""

import numpy as np
import pytest

from app.inference.model_folder import Thresholds
from app.recognition.digit import Score, answer, prepare_file, score
from app.inference.engines import Engine
from app.errors import RequestError
from tests.support.pictures import FILES, Grey, png

SURE = [0.0, 0.0, 0.0, 0.0, 0.0, 0.01, 0.0, 0.99, 0.0, 0.0]
THRESHOLDS = Thresholds(confidence=0.9, typicality=0.5)


@pytest.mark.parametrize(
    ("probabilities", "typicality", "reason"),
    [
        (SURE, 0.8, None),
        (SURE, 0.5, None),
        (SURE, 0.49, "not_a_digit"),
        ([0.1, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.8, 0.0, 0.0], 0.8, "uncertain"),
        ([0.1, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.8, 0.0, 0.0], 0.1, "not_a_digit"),
    ],
)
def test_an_answer_is_accepted_if_it_meets_both_thresholds(
    probabilities: list[float], typicality: float, reason: str | None, seven: Grey
) -> None:
    """Below either threshold the best guess is still told, and why it is not to be relied on."""
    prediction = answer(prepare(png(seven), 1000), Score(probabilities, typicality), THRESHOLDS, "m-1.0.0")
    assert (prediction.digit, prediction.confidence) == (7, max(probabilities))
    assert (prediction.accepted, prediction.reason) == (reason is None, reason)
    assert prediction.probabilities == probabilities


def test_of_a_blank_picture_nothing_is_read() -> None:
    """No digit, no confidence, no probabilities; the reason is blank."""
    prediction = answer(prepare(png(np.full((28, 28), 255, np.uint8)), 1000), None, THRESHOLDS, "m-1.0.0")
    assert (prediction.digit, prediction.confidence, prediction.probabilities) == (None, None, [])
    assert (prediction.accepted, prediction.reason) == (False, "blank")


def test_scores_are_rounded_and_still_sum_to_one(engine: Engine, digits: list[tuple[int, Grey]]) -> None:
    """Six places are enough for people, and ten of them sum to 1 as near as that allows."""
    for result in score(engine, [image for _, image in digits]):
        assert sum(result.probabilities) == pytest.approx(1, abs=1e-5)
        assert all(p == round(p, 6) for p in result.probabilities)


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_same_digit(name: str, engine: Engine, digits: list[tuple[int, Grey]]) -> None:
    """A digit is read the same from every format and mode that we take."""
    for digit, image in digits:
        result = score(engine, [prepare(FILES[name](image), 1000).pixels])[0]
        assert result.probabilities.index(max(result.probabilities)) == digit


def test_what_was_sent_is_told(seven: Grey) -> None:
    """Format, size and what was done are part of what was prepared."""
    picture = prepare(FILES["PNG black on white"](seven), 1000)
    assert (picture.format, picture.width, picture.height) == ("PNG", 28, 28)
    assert (picture.normalized, picture.inverted, picture.blank) == (False, True, False)


def test_what_is_no_image_is_an_error() -> None:
    """Errors of decoding pass through."""
    with pytest.raises(RequestError):
        prepare(b"no image", 1000)
