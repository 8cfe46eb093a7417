"""What is watched of each picture that a network has read, and the buckets that it is counted in.

What comes in and, in a model's manifest, what its held-out digits gave are counted in the same buckets, so that the two
can be compared. Nearly all confidences of digits are close to 1, and so are most bounds. Knows nothing of how counts
are shown.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.imaging.digit_image import IMAGE_SIZE, Images
from app.inference.model_folder import Buckets, Reference
from app.inference.scores import Scores

# Upper bounds, each in the bucket below it; what is above the last has a bucket, too.
BOUNDS: dict[str, tuple[float, ...]] = {
    "confidence": (0.5, 0.8, 0.95, 0.99, 0.999, 0.9999, 0.99999),
    "typicality": (0.5, 0.9, 0.98, 0.995, 0.999, 0.9999, 0.99999),
    "ink_ratio": (0.04, 0.06, 0.08, 0.1, 0.12, 0.14, 0.17, 0.2, 0.25, 0.35),
}
WHITE = IMAGE_SIZE**2 * 255.0  # the sum of a white picture's grey levels


class InputStatistics(NamedTuple):
    """What is watched of N pictures, under the names of ``BOUNDS``: ``(N,)`` each."""

    confidence: NDArray[np.float64]
    typicality: NDArray[np.float64]
    ink_ratio: NDArray[np.float64]


def compute_statistics(scores: Scores, images: Images) -> InputStatistics:
    """What is watched of a batch, rounded as in answers to single pictures."""
    return InputStatistics(
        confidence=scores.probabilities.max(axis=1).astype(np.float64).round(6),
        typicality=scores.typicality.astype(np.float64),
        ink_ratio=images.reshape(len(images), -1).sum(axis=1, dtype=np.uint32) / WHITE,
    )


def count_in_buckets(values: NDArray[np.float64], bounds: NDArray[np.float64]) -> list[int]:
    """How many values are in each bucket."""
    found: list[int] = np.bincount(bounds.searchsorted(values), minlength=len(bounds) + 1).tolist()
    return found


def make_reference(scores: Scores, images: Images) -> Reference:
    """Count what a model makes of digits like those that it was trained on."""
    statistics = compute_statistics(scores, images)._asdict()
    return Reference(
        digits=len(images),
        signals={
            name: Buckets(bounds=bounds, counts=tuple(count_in_buckets(statistics[name], np.array(bounds))))
            for name, bounds in BOUNDS.items()
        },
        read=np.bincount(scores.probabilities.argmax(axis=1), minlength=10).tolist(),
    )
