"""Statistics of the pictures that a network reads, and the buckets in which they are counted.

The same buckets hold what the service receives and, in a model's manifest, what the model made of its held-out digits.
So the two can be compared. Almost all confidences of digits are close to 1, so most bounds are too.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.imaging.digit_image import IMAGE_SIZE, Images
from app.inference.model_folder import Buckets, Reference
from app.inference.scores import Scores

# Upper bounds. A bound belongs to the bucket below it. Values above the last bound have a bucket, too.
BOUNDS: dict[str, tuple[float, ...]] = {
    "confidence": (0.5, 0.8, 0.95, 0.99, 0.999, 0.9999, 0.99999),
    "typicality": (0.5, 0.9, 0.98, 0.995, 0.999, 0.9999, 0.99999),
    "ink_ratio": (0.04, 0.06, 0.08, 0.1, 0.12, 0.14, 0.17, 0.2, 0.25, 0.35),
}
WHITE_SUM = IMAGE_SIZE**2 * 255.0  # of the grey levels of a white picture


class InputStatistics(NamedTuple):
    """Statistics of N pictures, ``(N,)`` each. The names are those of ``BOUNDS``."""

    confidence: NDArray[np.float64]
    typicality: NDArray[np.float64]
    ink_ratio: NDArray[np.float64]


def compute_statistics(scores: Scores, images: Images) -> InputStatistics:
    """Compute the statistics of a batch, rounded like the answers to single pictures."""
    return InputStatistics(
        confidence=scores.rounded().max(axis=1),
        typicality=scores.typicality.astype(np.float64),
        ink_ratio=images.reshape(len(images), -1).sum(axis=1, dtype=np.uint32) / WHITE_SUM,
    )


def count_in_buckets(values: NDArray[np.float64], bounds: NDArray[np.float64]) -> list[int]:
    """Count how many of the values ``(N,)`` are in each bucket. There is one more bucket than bounds."""
    counts: list[int] = np.bincount(bounds.searchsorted(values), minlength=len(bounds) + 1).tolist()
    return counts


def make_reference(scores: Scores, images: Images) -> Reference:
    """Count what a model makes of digits like those that it was trained on, for its manifest."""
    statistics = compute_statistics(scores, images)._asdict()
    return Reference(
        digits=len(images),
        signals={
            name: Buckets(bounds=bounds, counts=tuple(count_in_buckets(statistics[name], np.array(bounds))))
            for name, bounds in BOUNDS.items()
        },
        read=np.bincount(scores.probabilities.argmax(axis=1), minlength=10).tolist(),
    )
