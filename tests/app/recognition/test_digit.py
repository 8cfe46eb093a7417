"""From an image file and a score to a prediction."""

import numpy as np
import pytest

from app.errors import RequestError
from app.inference.engines import Engine
from app.inference.model_folder import Thresholds
from app.inference.scores import Score, score_pictures
from app.recognition.digit import make_prediction, prepare_file
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
def test_a_prediction_is_accepted_if_it_meets_both_thresholds(
    probabilities: list[float], typicality: float, reason: str | None, seven: Grey
) -> None:
    """Below either threshold, the prediction still has the best guess, and the reason why it is refused."""
    prediction = make_prediction(
        prepare_file(png(seven), 1000), Score(probabilities, typicality), THRESHOLDS, "m-1.0.0"
    )
    assert (prediction.digit, prediction.confidence) == (7, max(probabilities))
    assert (prediction.accepted, prediction.reason) == (reason is None, reason)
    assert prediction.probabilities == probabilities


def test_a_blank_picture_has_no_digit() -> None:
    """It has no confidence and no probabilities either. The reason is ``blank``."""
    prediction = make_prediction(prepare_file(png(np.full((28, 28), 255, np.uint8)), 1000), None, THRESHOLDS, "m-1.0.0")
    assert (prediction.digit, prediction.confidence, prediction.probabilities) == (None, None, [])
    assert (prediction.accepted, prediction.reason) == (False, "blank")


def test_scores_are_rounded_and_still_sum_to_one(engine: Engine, digits: list[tuple[int, Grey]]) -> None:
    """Each probability has six decimal places, and the ten of them sum to 1 as far as that allows."""
    for result in score_pictures(engine, [image for _, image in digits]).to_list():
        assert sum(result.probabilities) == pytest.approx(1, abs=1e-5)
        assert all(p == round(p, 6) for p in result.probabilities)


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_same_digit(name: str, engine: Engine, digits: list[tuple[int, Grey]]) -> None:
    """A digit is read correctly from every format and mode that the service accepts."""
    for digit, image in digits:
        (result,) = score_pictures(engine, [prepare_file(FILES[name](image), 10_000).pixels]).to_list()
        assert result.probabilities.index(max(result.probabilities)) == digit


def test_a_prepared_picture_describes_the_file(seven: Grey) -> None:
    """It has the file's format and size, and what was done to the picture."""
    picture = prepare_file(FILES["PNG black on white"](seven), 1000)
    assert (picture.format, picture.width, picture.height) == ("PNG", 28, 28)
    assert (picture.normalized, picture.inverted, picture.blank) == (False, True, False)


def test_a_file_that_is_not_an_image_is_an_error() -> None:
    """Errors of the decoder are passed on."""
    with pytest.raises(RequestError):
        prepare_file(b"no image", 1000)
