"""Selects the digits that a model folder contains for the check at each start of a service."""

from collections.abc import Sequence

import numpy as np

from app.inference.model_folder import GoldenDigit
from app.inference.scores import Scores
from training.data.mnist import Digits
from training.errors import ExportError

GOLDEN_PER_CLASS = 2
GOLDEN_CONFIDENCE = 0.9


def select_golden_digits(digits: Digits, scores: Sequence[Scores]) -> list[GoldenDigit]:
    """Select the first few digits of each class that every network reads correctly and surely, with every engine.

    Raises:
        ExportError: There are too few of them.
    """
    labels = digits.labels.numpy()
    is_sure = np.ones(len(labels), bool)
    for score in scores:
        is_sure &= score.probabilities.argmax(axis=1) == labels
        is_sure &= score.probabilities.max(axis=1) > GOLDEN_CONFIDENCE
    golden = []
    for digit in range(10):
        selected = np.flatnonzero(is_sure & (labels == digit))[:GOLDEN_PER_CLASS]
        if len(selected) < GOLDEN_PER_CLASS:
            raise ExportError(f"The network reads fewer than {GOLDEN_PER_CLASS} of the {digit}s surely. Train longer.")
        golden += [
            GoldenDigit.model_construct(digit=digit, pixels=digits.images[i].numpy().tobytes()) for i in selected
        ]
    return golden
