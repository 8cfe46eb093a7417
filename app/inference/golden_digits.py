"""The test that a model must pass before it serves: it reads its golden digits correctly."""

import numpy as np

from app.errors import ModelFolderError
from app.inference.cascade import CascadeEngine
from app.inference.engines import Engine
from app.inference.model_folder import ModelFolder


def read_golden_digits(engine: Engine, model: ModelFolder) -> None:
    """Warm up an engine with one picture and with a batch, and check that it reads the model's golden digits.

    Both networks of a cascade are checked, too.

    Raises:
        ModelFolderError: A digit is misread, or the output is not a probability distribution.
    """
    if isinstance(engine, CascadeEngine):
        read_golden_digits(engine.fast, model)
        read_golden_digits(engine.careful, model)
    golden = model.manifest.golden
    images = np.stack([digit.image for digit in golden])
    engine(images[:1])
    scores = engine(images)
    if not np.allclose(scores.probabilities.sum(axis=1), 1, atol=1e-3):  # also catches NaN
        raise ModelFolderError(f"{model.folder}: {engine.name} on {engine.device} does not return probabilities")
    for digit, read in zip(golden, scores.probabilities.argmax(axis=1), strict=True):
        if read != digit.digit:
            raise ModelFolderError(
                f"{model.folder}: {engine.name} on {engine.device} reads a golden {digit.digit} as {read}"
            )
