"""Which pixels of a picture speak for a digit, and which against it: ink, and the lack of it.

This is occlusion (Zeiler and Fergus 2014). One patch of the picture after the other is changed into its opposite. What
that takes from the digit's log-odds is what the patch contributed. Each patch is changed twice: once its ink is erased,
once its paper is filled with ink, because a missing stroke tells a 3 from an 8 as much as a stroke does.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.imaging.digit_image import DIGIT_SIZE, IMAGE_SIZE, Grey, Images
from app.imaging.encode import to_png
from app.inference.scores import Scores
from app.recognition.answers import Explanation, Prediction

PATCH, STRIDE = 4, 2  # pixels: a stroke is two to four wide, and each pixel is in up to four patches
MIN_INK = 8  # grey level: anything fainter is the grain of a JPEG, not ink
FULL_INK = 255  # grey level of the ink that paper is filled with
MARGIN = (IMAGE_SIZE - DIGIT_SIZE) // 2  # pixels at the edge that are not filled: digits lie between them
MIN_PROBABILITY = 1e-12  # smaller probabilities are rounding errors, and their logarithm would drown the rest

ENLARGEMENT = 10  # of the overlay
GREY_DEPTH, COLOUR_DEPTH = 0.55, 0.25  # how much full ink darkens white, and a colour, in the overlay
FOR, AGAINST = (230, 97, 0), (0, 90, 181)  # orange and blue, which colour-blind people can tell apart


def patch_masks(margin: int, size: int = PATCH, stride: int = STRIDE) -> NDArray[np.bool_]:
    """Return each position of the patch within a margin as a mask of the picture: ``(positions, 28, 28)``."""
    starts = range(margin, IMAGE_SIZE - margin - size + 1, stride)
    masks = np.zeros((len(starts), len(starts), IMAGE_SIZE, IMAGE_SIZE), np.bool_)
    for row, top in enumerate(starts):
        for column, left in enumerate(starts):
            masks[row, column, top : top + size, left : left + size] = True
    return masks.reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


EVERYWHERE, INSIDE = patch_masks(margin=0), patch_masks(MARGIN)


class Evidence(NamedTuple):
    """How much each pixel speaks for a digit."""

    values: NDArray[np.float64]  # (28, 28), in [-1, 1]; positive speaks for it, as ink or as paper
    scale: float  # what 1 means: nats of log-odds that the digit loses if that pixel becomes its opposite


def occlude(pixels: Grey) -> Images:
    """Return a picture ``(28, 28)`` as it is, then with one patch at a time erased or filled: ``(N, 28, 28)``.

    Patches that would change nothing are left out. N is about 150 for a digit.
    """
    ink = pixels >= MIN_INK
    ink_in, paper_in = EVERYWHERE & ink, INSIDE & ~ink
    erase, fill = ink_in[ink_in.any(axis=(1, 2))], paper_in[paper_in.any(axis=(1, 2))]
    return np.concatenate([pixels[None], np.where(erase, 0, pixels), np.where(fill, FULL_INK, pixels)], dtype=np.uint8)


def compute_evidence(batch: Images, scores: Scores, digit: int) -> Evidence:
    """Weigh the pixels of a picture by how the network scored it with its patches changed.

    What a patch takes from the log-odds is shared among the pixels that it changed, in proportion to how much it
    changed each. A pixel gets the mean of its shares. Log-odds are used because a probability near 1 hardly moves
    until everything is lost.

    Args:
        batch: ``(N, 28, 28)``, from ``occlude``.
        scores: The scores of that batch.
        digit: The digit to explain.
    """
    odds = log_odds(scores.probabilities.astype(np.float64), digit)
    change = np.abs(batch[1:].astype(np.int16) - batch[0]).reshape(-1, IMAGE_SIZE**2).astype(np.float64)
    loss = (odds[0] - odds[1:]) / change.sum(axis=1)
    patch_count = np.count_nonzero(change, axis=0)
    values = (loss @ change / np.maximum(patch_count, 1)).reshape(IMAGE_SIZE, IMAGE_SIZE)
    scale = float(np.abs(values).max())
    return Evidence(values / (scale or 1.0), scale)


def log_odds(probabilities: NDArray[np.float64], digit: int) -> NDArray[np.float64]:
    """Return the log-odds ``(N,)`` of a digit from probabilities ``(N, 10)``, in nats.

    The odds are against the sum of the other digits. That is exact even where 1 minus the digit's probability would be
    only a rounding error.
    """
    others = np.delete(probabilities, digit, axis=1).sum(axis=1)
    odds: NDArray[np.float64] = np.log(
        np.maximum(probabilities[:, digit], MIN_PROBABILITY) / np.maximum(others, MIN_PROBABILITY)
    )
    return odds


def make_explanation(prediction: Prediction, digit: int | None, evidence: Evidence | None) -> Explanation:
    """Combine a prediction and the evidence for one digit. A blank picture has neither digit nor evidence."""
    return Explanation(
        digit=digit,
        confidence=None if digit is None else prediction.probabilities[digit],
        read=prediction.digit,
        evidence=(evidence.values.round(3) + 0.0).tolist() if evidence else [],
        scale=round(evidence.scale, 4) if evidence else None,
        accepted=prediction.accepted,
        reason=prediction.reason,
        preview=prediction.preview,
        input=prediction.input,
        model=prediction.model,
    )


def draw_overlay(pixels: Grey, evidence: Evidence | None) -> bytes:
    """Draw evidence over a picture as a PNG of 280x280: ink grey on white, orange for the digit, blue against it."""
    values = evidence.values[..., None] if evidence else np.zeros((IMAGE_SIZE, IMAGE_SIZE, 1))
    ink, strength = pixels[..., None] / 255, np.abs(values)
    plain = 255 * (1 - GREY_DEPTH * ink)
    colour = np.where(values >= 0, FOR, AGAINST) * (1 - COLOUR_DEPTH * ink)
    blend = plain + (colour - plain) * strength
    return to_png(blend.round().astype(np.uint8), enlarge=ENLARGEMENT, compress_level=3)
