"""What a network returns: the scores of a batch, and of one picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.imaging.digit_image import IMAGE_SIZE, Grey, Images


@dataclass(frozen=True)
class Scores:
    """The scores of a batch of N pictures."""

    probabilities: NDArray[np.float32]  # (N, 10), calibrated; each row sums to 1
    typicality: NDArray[np.float32]  # (N,), in [0, 1]: how surely the picture shows a digit at all

    def replace_rows(self, rows: NDArray[np.intp] | NDArray[np.bool_], scores: "Scores") -> None:
        """Put other scores into these rows, in place."""
        self.probabilities[rows] = scores.probabilities
        self.typicality[rows] = scores.typicality

    def rounded(self) -> NDArray[np.float64]:
        """Return the probabilities as every answer has them: with six decimals."""
        return self.probabilities.astype(np.float64).round(6)

    def to_list(self, unsure: NDArray[np.bool_] | None = None) -> list["Score"]:
        """Return the score of each picture, marked as unsure where ``unsure`` ``(N,)`` says so."""
        marks = [False] * len(self.typicality) if unsure is None else unsure.tolist()
        return list(map(Score, self.rounded().tolist(), self.typicality.tolist(), marks))


class Score(NamedTuple):
    """The score of one picture."""

    probabilities: Sequence[float]  # ten, in order of the digits; they sum to 1
    typicality: float
    unsure: bool = False  # the careful network should read the picture, too


def concatenate(parts: Sequence[Scores]) -> Scores:
    """Join the scores of consecutive batches. No parts give the scores of an empty batch."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Scores(np.empty((0, 10), np.float32), np.empty(0, np.float32))
    return Scores(
        np.concatenate([part.probabilities for part in parts]), np.concatenate([part.typicality for part in parts])
    )


def score_pictures(engine: Callable[[Images], Scores], pictures: Sequence[Grey]) -> Scores:
    """Run pictures ``(28, 28)`` through an engine as one batch."""
    return engine(np.concatenate(pictures).reshape(-1, IMAGE_SIZE, IMAGE_SIZE))  # np.stack takes twice as long
