"""CheckedEngine: an invalid output is an error, never an answer."""

from collections.abc import Callable

import numpy as np
import pytest

from app.errors import EngineFailedError
from app.imaging.digit_image import Images
from app.inference.cascade import CascadeEngine, add_output_checks
from app.inference.engines import CheckedEngine
from app.inference.model_folder import EngineName, Thresholds
from app.inference.scores import Scores


class FakeEngine:
    """An engine that returns what a function makes."""

    name: EngineName = "onnxruntime"
    device = "cpu"

    def __init__(self, make_scores: Callable[[int], Scores]) -> None:
        self._make_scores = make_scores

    def __call__(self, images: Images) -> Scores:
        return self._make_scores(len(images))


def make_valid(count: int) -> Scores:
    return Scores(np.full((count, 10), 0.1, np.float32), np.full(count, 0.5, np.float32))


def fail(count: int) -> Scores:
    raise RuntimeError("CUDA error")


def spoil_last(**values: float) -> Callable[[int], Scores]:
    """Return a function that makes valid scores, except for these values in the last row."""

    def make_scores(count: int) -> Scores:
        scores = make_valid(count)
        for name, value in values.items():
            getattr(scores, name)[-1] = value
        return scores

    return make_scores


IMAGES = np.zeros((16, 28, 28), np.uint8)


def test_a_valid_output_passes() -> None:
    """With checks, a working engine returns the same as without."""
    scores = CheckedEngine(FakeEngine(make_valid), lambda error: pytest.fail(str(error)))(IMAGES)
    assert (scores.probabilities == make_valid(16).probabilities).all()


@pytest.mark.parametrize(
    "make_scores",
    [
        fail,
        spoil_last(probabilities=np.nan),
        spoil_last(probabilities=np.inf),
        spoil_last(probabilities=0.0),
        spoil_last(typicality=np.nan),
        spoil_last(typicality=50.0),
        lambda count: make_valid(count - 1),
        lambda count: make_valid(0),
    ],
    ids=["raises", "NaN", "infinite", "zeros", "typicality NaN", "typicality over 1", "one missing", "empty"],
)
def test_an_invalid_output_is_a_failure(make_scores: Callable[[int], Scores]) -> None:
    """One invalid row of sixteen fails the whole batch, and the failure is reported once."""
    failures: list[Exception] = []
    with pytest.raises(EngineFailedError) as raised:
        CheckedEngine(FakeEngine(make_scores), failures.append)(IMAGES)
    assert len(failures) == 1
    assert "CUDA" not in str(raised.value)


def test_both_parts_of_a_cascade_are_checked() -> None:
    """A failure of the careful network is found although the fast one works."""
    gate = Thresholds(confidence=0.9, typicality=0.9)
    failures: list[Exception] = []
    engine = add_output_checks(
        CascadeEngine(FakeEngine(make_valid), FakeEngine(spoil_last(typicality=np.nan)), gate), failures.append
    )
    assert isinstance(engine, CascadeEngine)
    with pytest.raises(EngineFailedError):
        engine(IMAGES)
    assert len(failures) == 1
