"""A picture and a network's scores -> what speaks for a digit, and what against it: ink, and the lack of it.

Occlusion (Zeiler and Fergus 2014): a patch of the picture is changed into its opposite, and what that takes from the
digit's log-odds is what the patch had said for it. A patch is asked twice: once its ink is rubbed out, once its paper
is filled with ink, since a stroke that is not there tells a 3 from an 8 as much as one that is. Knows nothing of
engines, files of the client, or HTTP.
"""

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.engine import Images, Scores
from app.normalize import BOX, SIZE, Grey
from app.schemas import Explanation, Prediction

PATCH, STRIDE = 4, 2  # pixels: a stroke is two to four wide, and each pixel is seen in up to four patches
PAPER = 8  # levels: what is fainter is the grain of a JPEG, and no ink
FULL = 255  # level of the ink that paper is filled with
MARGIN = (SIZE - BOX) // 2  # pixels at the edge that are not filled: digits are fitted between them
FLOOR = 1e-12  # of a probability: what is below it is rounding, and its logarithm would drown the rest

ENLARGED = 10  # times, in the overlay
SHADE, DEEP = 0.55, 0.25  # of white, and of a colour, that full ink takes away in the overlay
FOR, AGAINST = (230, 97, 0), (0, 90, 181)  # orange and blue, which the colour-blind tell apart


def patches(margin: int, size: int = PATCH, stride: int = STRIDE) -> NDArray[np.bool_]:
    """Every place of the patch that is within a margin, each as a mask of the picture: ``(places, 28, 28)``."""
    starts = range(margin, SIZE - margin - size + 1, stride)
    masks = np.zeros((len(starts), len(starts), SIZE, SIZE), np.bool_)
    for row, top in enumerate(starts):
        for column, left in enumerate(starts):
            masks[row, column, top : top + size, left : left + size] = True
    return masks.reshape(-1, SIZE, SIZE)


EVERYWHERE, INSIDE = patches(margin=0), patches(MARGIN)


class Evidence(NamedTuple):
    """How much each pixel speaks for a digit."""

    values: NDArray[np.float64]  # (28, 28), in [-1, 1]; positive speaks for it, as ink or as paper
    scale: float  # what 1 stands for: nats of log-odds that the digit loses if that pixel becomes its opposite


def occluded(pixels: Grey) -> Images:
    """A picture ``(28, 28)``, first as it is, then with a patch at a time rubbed out or filled: ``(N, 28, 28)``.

    Patches that would change nothing are left out; N is about 150 for a digit.
    """
    ink = pixels >= PAPER
    ink_in, paper_in = EVERYWHERE & ink, INSIDE & ~ink
    rubbed, filled = ink_in[ink_in.any(axis=(1, 2))], paper_in[paper_in.any(axis=(1, 2))]
    return np.concatenate([pixels[None], np.where(rubbed, 0, pixels), np.where(filled, FULL, pixels)], dtype=np.uint8)


def evidence(batch: Images, scores: Scores, digit: int) -> Evidence:
    """Weigh the pixels of a picture by what the network made of it with its patches changed.

    Args:
        batch: ``(N, 28, 28)``, as ``occluded`` gives it.
        scores: of that batch.
        digit: whose evidence is asked for.

    What a patch takes from the log-odds is shared among the pixels that it changed, by how much it changed each; a
    pixel has the mean of its shares. Log-odds, since a probability near 1 hardly moves until all is lost.
    """
    odds = log_odds(scores.probabilities.astype(np.float64), digit)
    changed = np.abs(batch[1:].astype(np.int16) - batch[0]).reshape(-1, SIZE * SIZE).astype(np.float64)
    lost = (odds[0] - odds[1:]) / changed.sum(axis=1)
    times = np.count_nonzero(changed, axis=0)
    values = (lost @ changed / np.maximum(times, 1)).reshape(SIZE, SIZE)
    scale = float(np.abs(values).max())
    return Evidence(values / (scale or 1.0), scale)


def log_odds(probabilities: NDArray[np.float64], digit: int) -> NDArray[np.float64]:
    """The log-odds ``(N,)`` of a digit by probabilities ``(N, 10)``, in nats.

    Against the sum of the others, which is exact where 1 less the digit's would be nothing but rounding.
    """
    others = np.delete(probabilities, digit, axis=1).sum(axis=1)
    odds: NDArray[np.float64] = np.log(np.maximum(probabilities[:, digit], FLOOR) / np.maximum(others, FLOOR))
    return odds


def explanation(prediction: Prediction, digit: int | None, found: Evidence | None) -> Explanation:
    """Put a prediction, and the evidence for one digit, into an answer. A blank picture has neither."""
    return Explanation(
        digit=digit,
        confidence=None if digit is None else prediction.probabilities[digit],
        read=prediction.digit,
        evidence=(found.values.round(3) + 0.0).tolist() if found else [],
        scale=round(found.scale, 4) if found else None,
        accepted=prediction.accepted,
        reason=prediction.reason,
        preview=prediction.preview,
        input=prediction.input,
        model=prediction.model,
    )


def overlay(pixels: Grey, found: Evidence | None) -> bytes:
    """Draw evidence over a picture as a PNG of 280x280: ink grey on white, orange for the digit, blue against it."""
    values = found.values[..., None] if found else np.zeros((SIZE, SIZE, 1))
    ink, strength = pixels[..., None] / 255, np.abs(values)
    plain, colour = 255 * (1 - SHADE * ink), np.where(values >= 0, FOR, AGAINST) * (1 - DEEP * ink)
    tinted = plain + (colour - plain) * strength
    image = Image.fromarray(tinted.round().astype(np.uint8))
    file = io.BytesIO()
    image.resize((ENLARGED * SIZE, ENLARGED * SIZE), Image.Resampling.NEAREST).save(file, "PNG", compress_level=3)
    return file.getvalue()
