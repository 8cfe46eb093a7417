"""An engine whose every answer is looked at: what is no probability is a failure, and no answer."""

from collections.abc import Callable

from app.bundle import EngineName
from app.engine import CascadeEngine, Engine, Images, Scores
from app.errors import EngineFailedError

LEEWAY = 1e-3  # by which the probabilities of a picture may miss 1, on average


class GuardedEngine:
    """An engine around another.

    Args:
        engine: what reads.
        on_failure: told of each failure, in the thread that it happens in.
    """

    def __init__(self, engine: Engine, on_failure: Callable[[Exception], None]) -> None:
        self._engine, self._on_failure = engine, on_failure
        self.name: EngineName = engine.name
        self.device = engine.device

    def __call__(self, images: Images) -> Scores:
        """Read pictures.

        Raises:
            EngineFailedError: the engine failed.
        """
        try:
            scores = self._engine(images)
            count = len(images)
            if len(scores.probabilities) != count or len(scores.typicality) != count:
                raise ValueError("as many answers as pictures were expected")
            # Sums, for one NaN makes a NaN of them, and no comparison with a NaN is true.
            if not abs(float(scores.probabilities.sum()) - count) <= LEEWAY * count:
                raise ValueError("what was given are no probabilities")
            if not -LEEWAY <= float(scores.typicality.sum()) <= count * (1 + LEEWAY):
                raise ValueError("what was given are no typicalities")
        except Exception as error:  # a device fails in ways of its own
            self._on_failure(error)
            raise EngineFailedError("The engine failed. The fault is ours; trying again may help.") from error
        return scores


def guarded(engine: Engine, on_failure: Callable[[Exception], None]) -> Engine:
    """Put a guard around an engine, or around both parts of a cascade."""
    if isinstance(engine, CascadeEngine):
        return CascadeEngine(
            GuardedEngine(engine.fast, on_failure), GuardedEngine(engine.careful, on_failure), engine.gate
        )
    return GuardedEngine(engine, on_failure)
