"""An engine under guard: what is no answer does not leave it."""

from collections.abc import Callable

import numpy as np
import pytest

from app.inference.model_folder import EngineName, Thresholds
from app.imaging.digit_image import Images
from app.inference.cascade import CascadeEngine
from app.inference.scores import Scores
from app.errors import EngineFailedError
from app.inference.guard import GuardedEngine, guarded


class Made:
    """An engine that gives what it was made with."""

    name: EngineName = "onnxruntime"
    device = "cpu"

    def __init__(self, give: Callable[[int], Scores]) -> None:
        self._give = give

    def __call__(self, images: Images) -> Scores:
        return self._give(len(images))


def good(count: int) -> Scores:
    return Scores(np.full((count, 10), 0.1, np.float32), np.full(count, 0.5, np.float32))


def broken(count: int) -> Scores:
    raise RuntimeError("CUDA error")


def changed(**what: float) -> Callable[[int], Scores]:
    def give(count: int) -> Scores:
        scores = good(count)
        for name, value in what.items():
            getattr(scores, name)[-1] = value
        return scores

    return give


IMAGES = np.zeros((16, 28, 28), np.uint8)


def test_what_is_an_answer_passes() -> None:
    """A good engine under guard gives what it gives without."""
    scores = GuardedEngine(Made(good), lambda error: pytest.fail(str(error)))(IMAGES)
    assert (scores.probabilities == good(16).probabilities).all()


@pytest.mark.parametrize(
    "give",
    [
        broken,
        changed(probabilities=np.nan),
        changed(probabilities=np.inf),
        changed(probabilities=0.0),
        changed(typicality=np.nan),
        changed(typicality=50.0),
        lambda count: good(count - 1),
        lambda count: good(0),
    ],
    ids=["raises", "NaN", "infinite", "zeros", "typicality NaN", "typicality beyond 1", "one short", "none"],
)
def test_what_is_none_is_a_failure(give: Callable[[int], Scores]) -> None:
    """One row of sixteen that is no answer spoils the batch, and it is told of once."""
    told: list[Exception] = []
    with pytest.raises(EngineFailedError) as raised:
        GuardedEngine(Made(give), told.append)(IMAGES)
    assert len(told) == 1
    assert "CUDA" not in str(raised.value)


def test_of_a_cascade_each_part_is_guarded() -> None:
    """A careful network that fails is found out although the fast one is well."""
    gate = Thresholds(confidence=0.9, typicality=0.9)
    told: list[Exception] = []
    engine = guarded(CascadeEngine(Made(good), Made(changed(typicality=np.nan)), gate), told.append)
    assert isinstance(engine, CascadeEngine)
    with pytest.raises(EngineFailedError):
        engine(IMAGES)
    assert len(told) == 1
