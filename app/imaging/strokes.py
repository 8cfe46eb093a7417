"""Marks the strokes of a picture: where ink begins, and which faint ink continues it."""

from collections import defaultdict
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.digit_image import Grey
from app.imaging.paper import MIN_CONTRAST, Shows
from app.imaging.pieces import Mask, Piece

INK_OVER_GRAIN = 5  # standard deviations of the paper's grain by which ink stands out
MAX_OVER_GRAIN = 100.0  # strength above which everything is ink, however coarse the grain
MAX_GROWTH = 1.5  # of the longer side of the strong parts of a stroke: with its faint parts, it is at most this long
# Of the level at which ink begins: what is stronger than the first share and connected to ink belongs to its stroke. On
# a page, fainter ink would often connect neighbouring digits. Down to the second share, it counts where it does not.
FAINT_SHARES: dict[Shows, tuple[float, float]] = {"digit": (0.5, 0.5), "page": (0.6, 0.3)}
MAX_FRAGMENT = 0.5  # of the longer side of the stroke that it belongs to; something larger is a stroke of its own


class InkLevels(NamedTuple):
    """The strengths from which ink counts."""

    strong: float  # always
    faint: float  # where it continues strong ink
    faintest: float  # where it continues a single stroke


def find_levels(strength: Grey, grain: float, shows: Shows) -> InkLevels:
    """Find the strengths from which ink counts, on paper with a grain of this standard deviation."""
    faintest = find_faintest_ink(grain)
    strong = find_ink_level(strength, faintest)
    return InkLevels(strong, *(max(faintest, share * strong) for share in FAINT_SHARES[shows]))


def find_faintest_ink(grain: float) -> float:
    """Return the strength below which nothing is ink, on paper with a grain of this standard deviation."""
    return max(MIN_CONTRAST, min(INK_OVER_GRAIN * grain, MAX_OVER_GRAIN))


def find_ink_level(strength: Grey, faintest: float) -> float:
    """Return the strength at which ink begins, by Otsu's method (1979) over all ink from ``faintest`` up.

    Where faint lines and strong strokes share a paper, this level separates them. Where there are only strokes, it
    separates their cores from their soft edges.
    """
    counts = cv2.calcHist([strength], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    counts[: int(faintest)] = 0
    count_below, sum_below = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    count_above = count_below[-1] - count_below
    mean_below = sum_below / np.maximum(count_below, 1)
    mean_above = (sum_below[-1] - sum_below) / np.maximum(count_above, 1)
    variance_between = count_below * count_above * (mean_below - mean_above) ** 2
    if not variance_between.any():  # there is one strength at most
        return faintest
    # Clean pictures have no levels between paper and ink, so many levels are equally good: take the middle of them.
    best = np.flatnonzero(variance_between == variance_between.max()).mean()
    return max(faintest, 0.9 * float(best))


def mark_strokes(strong: NDArray[np.bool_], labels: NDArray[np.int32], pieces: Sequence[Piece]) -> Mask:
    """Mark the ink ``(H, W)``: what is strong, and the fainter ink that continues its strokes.

    Pressure and speed change along a stroke, so a single level would tear it. Two levels follow a stroke into its faint
    parts, as in Canny 1986, "A Computational Approach to Edge Detection". Faint ink that would make strokes much larger
    is something else, like the ruled line that they stand on.

    Args:
        strong: Where the ink is strong, ``(H, W)``.
        labels: Of the pieces of all ink, ``(H, W)``.
        pieces: These pieces.
    """
    continued = np.zeros(int(labels.max()) + 1, np.bool_)
    for piece in pieces:
        is_strong = strong[piece.box.slices] & (labels[piece.box.slices] == piece.label)
        rows, columns = np.flatnonzero(is_strong.any(axis=1)), np.flatnonzero(is_strong.any(axis=0))
        if len(rows):
            longer_side = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
            continued[piece.label] = piece.box.longer_side <= MAX_GROWTH * longer_side
    return (strong | continued[labels]).astype(np.uint8)


def extend_strokes(
    labels: NDArray[np.int32],
    strokes: Sequence[Piece],
    faint_labels: NDArray[np.int32],
    faint_pieces: Sequence[Piece],
) -> Mask:
    """Mark strokes ``(H, W)``, and the faintest ink that continues one of them and connects it to no other.

    Strokes that are wider than high may be several digits that touch. They stay as they are: with soft edges, it is
    harder to see where to cut them.

    Args:
        labels: Of the strokes, ``(H, W)``.
        strokes: These pieces.
        faint_labels: Of the pieces down to the faintest ink, ``(H, W)``.
        faint_pieces: These pieces.
    """
    boxes = defaultdict(list)
    for stroke in strokes:
        first = np.flatnonzero(labels[stroke.box.slices] == stroke.label)[0]
        boxes[faint_labels[stroke.box.slices].flat[first]].append(stroke.box)
    continued = np.zeros(int(faint_labels.max()) + 1, np.bool_)
    for piece in faint_pieces:
        if piece.label in boxes:
            *fragments, longest = sorted(boxes[piece.label], key=attrgetter("longer_side"))
            continued[piece.label] = (
                longest.width <= longest.height
                and piece.box.longer_side <= MAX_GROWTH * longest.height
                and all(box.longer_side < MAX_FRAGMENT * longest.height for box in fragments)
            )
    return (np.isin(labels, [stroke.label for stroke in strokes]) | continued[faint_labels]).astype(np.uint8)
