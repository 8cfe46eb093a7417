"""The cascade: a fast network reads every picture, a careful one reads again those that the fast one is unsure of."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from app.imaging.digit_image import Images
from app.inference.engines import CheckedEngine, Engine
from app.inference.model_folder import Thresholds
from app.inference.scores import Scores


def is_below(scores: Scores, thresholds: Thresholds) -> NDArray[np.bool_]:
    """Return for each picture ``(N,)`` whether its confidence or its typicality is below a threshold.

    Below the gate, the careful network reads the picture again. Below the thresholds of acceptance, it is refused.
    """
    confidence: NDArray[np.float32] = scores.probabilities.max(axis=1)
    return np.asarray((confidence < thresholds.confidence) | (scores.typicality < thresholds.typicality))


class CascadeEngine:
    """An engine made of two: ``careful`` reads the pictures whose score by ``fast`` is below the gate."""

    def __init__(self, fast: Engine, careful: Engine, gate: Thresholds) -> None:
        self.fast, self.careful, self.gate = fast, careful, gate
        self.name, self.device = fast.name, fast.device

    def __call__(self, images: Images) -> Scores:
        scores = self.fast(images)
        unsure = is_below(scores, self.gate)
        if unsure.any():
            scores.replace_rows(unsure, self.careful(images[unsure]))
        return scores


def fast_part(engine: Engine) -> Engine:
    """Return the engine that reads every picture: the fast part of a cascade, or the engine itself."""
    return engine.fast if isinstance(engine, CascadeEngine) else engine


def add_output_checks(engine: Engine, on_failure: Callable[[Exception], None]) -> Engine:
    """Wrap an engine, or both parts of a cascade, in a ``CheckedEngine``."""
    if isinstance(engine, CascadeEngine):
        fast, careful = (CheckedEngine(part, on_failure) for part in (engine.fast, engine.careful))
        return CascadeEngine(fast, careful, engine.gate)
    return CheckedEngine(engine, on_failure)
