"""Brings a grey picture of a digit to the MNIST convention: 28x28, light ink on black, centred by mass.

That is MNIST's own convention (LeCun et al. 1998): the digit fits into 20x20 with its aspect ratio kept, and its centre
of mass is in the middle of 28x28. A picture that already follows it stays as it is.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.digit_image import DIGIT_SIZE, IMAGE_SIZE, Grey
from app.imaging.ink import INK_SHARE, CutOut, find_ink
from app.imaging.paper import MIN_CONTRAST
from app.imaging.pieces import Mask, Piece, enclose_pieces
from app.imaging.rectangle import Rectangle, enclose

MAX_OFF_CENTRE_PX = 1.0  # of the centre of mass in the convention; MNIST rounds it to whole pixels
MAX_PART_GAP = 0.25  # of the digit's size: a small piece this near is part of the digit
# A flat piece above it that is at most MAX_BAR digits wide may be further away: many write the bar of a 5 like this.
MAX_BAR_GAP, BAR_ASPECT, MAX_BAR = 0.35, 3.0, 1.6
MAX_STROKE_GAP = 0.03  # of the digit's size: another stroke this near is part of the digit, as in an open 4,
MAX_JOINED = 2.2  # unless both together would be more than this many times as large as the digit,
MAX_JOINED_ASPECT = 1.5  # or one of them is wider than digits are, in heights of the taller one
FULL_INK_PERCENTILE = 80  # the strength of a stroke's pixels that counts as full ink
FAINT_PEAK = 200  # grey levels: a picture in the convention whose ink is fainter is strengthened; MNIST's has 254
MAX_FIT_PX = 240  # the longer side at which a digit is fitted; more pixels show no more of it
MIN_STROKE_PX = 2.0  # in 28x28: a thinner stroke is widened, because MNIST's strokes are two to four pixels wide
TRIM_SHARE = 0.3  # of the strongest ink: weaker ink is outside of the box that is fitted into 20x20

ROWS, COLUMNS = np.indices((IMAGE_SIZE, IMAGE_SIZE)).reshape(2, -1)
BORDER = np.flatnonzero((ROWS % (IMAGE_SIZE - 1) == 0) | (COLUMNS % (IMAGE_SIZE - 1) == 0))  # indices of 28x28, flat
# (3, 784): times the pixels, these are the mass and its two first moments. They are exact: every sum is below 2**24.
MOMENTS = np.stack([np.ones_like(ROWS), COLUMNS, ROWS]).astype(np.float32)

Mode = Literal["auto", "always", "never"]


class NormalizedDigit(NamedTuple):
    """A picture as the network reads it, and what was done to it."""

    pixels: Grey  # (28, 28)
    normalized: bool = False  # it was cut out, resized and centred
    inverted: bool = False  # it was dark ink on light paper
    blank: bool = False  # there is no ink
    several: bool = False  # there is ink of more than one digit
    box: Rectangle | None = None  # of the ink, in pixels of the picture; None if it was not searched for


def normalize(grey: Grey, mode: Mode = "auto") -> NormalizedDigit:
    """Bring a picture ``uint8 (H, W)`` to the MNIST convention.

    Args:
        grey: The picture.
        mode: ``auto`` keeps a picture that follows the convention, bit for bit, or takes its negative. It
            only strengthens ink that peaks below ``FAINT_PEAK``. ``always`` cuts
            out and fits every picture. ``never`` only resizes to 28x28.
    """
    if mode == "never":
        return NormalizedDigit(resize_to_28x28(grey), blank=int(grey.max()) - int(grey.min()) < MIN_CONTRAST)
    if mode == "auto" and grey.shape == (IMAGE_SIZE, IMAGE_SIZE):
        border = get_border(grey)
        on_black = 2 * border.tobytes().count(0) > border.size  # true of almost all, and saves the other tests
        inverted = not on_black and is_majority(border > 127)
        upright = 255 - grey if inverted else grey
        darkest, lightest, _, _ = cv2.minMaxLoc(upright)
        if lightest - darkest < MIN_CONTRAST:
            return NormalizedDigit(upright, inverted=inverted, blank=True)
        if (on_black or not is_majority(get_border(upright) >= MIN_CONTRAST)) and is_fitted(upright, lightest):
            return NormalizedDigit(strengthen(upright, lightest), inverted=inverted)
    return extract_digit(grey)


def strengthen(grey: Grey, lightest: float) -> Grey:
    """Give a faint digit the strength of the digits that the network learned from."""
    return cv2.convertScaleAbs(grey, alpha=255 / lightest) if lightest < FAINT_PEAK else grey


def get_border(grey: Grey) -> Grey:
    """Return the outermost pixels of ``(28, 28)``, flat. They are paper in almost every picture."""
    return grey.ravel()[BORDER]


def is_majority(mask: NDArray[np.bool_]) -> bool:
    """Return whether more than half of the values are true."""
    return 2 * int(np.count_nonzero(mask)) > mask.size


def is_fitted(grey: Grey, lightest: float) -> bool:
    """Return whether the ink of ``(28, 28)`` is within 20x20 and its centre of mass in the middle.

    Ink that reaches the edge may be off centre, because it could not be moved further.
    """
    left, top, width, height = cv2.boundingRect(grey)
    if (
        width > DIGIT_SIZE
        or height > DIGIT_SIZE
        or not (0 < left < IMAGE_SIZE - width and 0 < top < IMAGE_SIZE - height)
    ):
        # Pixels outside of the box may be fainter than ink: then they do not count.
        _, ink = cv2.threshold(grey, int(INK_SHARE * lightest), 255, cv2.THRESH_BINARY)
        left, top, width, height = cv2.boundingRect(ink)
        if width > DIGIT_SIZE or height > DIGIT_SIZE:
            return False
    mass, across, down = MOMENTS.dot(grey.ravel().astype(np.float32)).tolist()  # cv2.moments takes twice as long
    for first, extent, moment in ((left, width, across), (top, height, down)):
        can_move = first > 0 and first + extent < IMAGE_SIZE
        if can_move and abs(moment / mass - (IMAGE_SIZE - 1) / 2) > MAX_OFF_CENTRE_PX:
            return False
    return True


def extract_digit(grey: Grey) -> NormalizedDigit:
    """Find the digit in a picture ``(H, W)``, cut it out and fit it."""
    ink = find_ink(grey, "digit")
    if not ink.pieces:
        return NormalizedDigit(np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8), inverted=ink.inverted, blank=True)
    digit, others = select_digit(ink.pieces)
    box = enclose_pieces(digit)
    return NormalizedDigit(
        fit_digit(ink.cut_out(box, ink.mask(digit))),
        normalized=True,
        inverted=ink.inverted,
        several=any(piece.box.longer_side > box.longer_side / 2 for piece in others),
        box=box.scale(1 / ink.scale),
    )


def select_digit(pieces: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
    """Divide pieces into those of the digit and all others.

    The digit is the piece with the most ink, the pieces that belong to it, those that belong to these, and so on.
    """
    digit, others = [max(pieces, key=lambda piece: piece.area)], list(pieces)
    others.remove(digit[0])
    while True:
        box = enclose_pieces(digit)
        near = [piece for piece in others if is_part(piece.box, box)]
        if not near:
            return digit, others
        digit += near
        others = [piece for piece in others if piece not in near]


def is_part(box: Rectangle, digit: Rectangle) -> bool:
    """Return whether a piece in this box belongs to the digit: it is small and near, or it almost touches the digit."""
    gap = box.gap(digit)
    if box.height < digit.height / 2:
        max_gap = MAX_BAR_GAP if is_bar(box, digit) else MAX_PART_GAP
        if gap <= max_gap * digit.longer_side:
            return True
    return (
        gap <= MAX_STROKE_GAP * digit.longer_side
        and enclose([box, digit]).longer_side <= MAX_JOINED * digit.longer_side
        and max(box.width, digit.width) <= MAX_JOINED_ASPECT * max(box.height, digit.height)
    )


def is_bar(box: Rectangle, digit: Rectangle) -> bool:
    """Return whether a piece in this box looks like the bar of a 5 whose other strokes are the digit."""
    return box.bottom <= digit.top and box.width >= BAR_ASPECT * box.height and box.width <= MAX_BAR * digit.longer_side


def fit_digit(cut: CutOut) -> Grey:
    """Fit ink that was cut out of a picture into 20x20 and centre it by mass: ``(28, 28)``.

    The ink's full strength becomes white, and soft edges stay soft. A thin stroke is widened before the digit is
    shrunk, or it would vanish.
    """
    full = max(find_full_ink(cut.strength, cut.mask), 1.0)
    ink, stroke_width = np.minimum(cut.strength.astype(np.float32) / full, 1), cut.stroke_width
    if (factor := MAX_FIT_PX / max(ink.shape)) < 1:
        ink = cv2.resize(ink, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        stroke_width *= factor
    ink = trim(ink)
    missing = MIN_STROKE_PX * max(ink.shape) / DIGIT_SIZE - stroke_width
    if missing >= 1:
        ink = trim(widen_strokes(ink, missing))
    height, width = ink.shape
    scale = DIGIT_SIZE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(ink, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return centre_by_mass((small.clip(0, 1) * 255).round().astype(np.uint8))


def find_full_ink(strength: Grey, mask: Mask) -> float:
    """Return how strong full ink is: the percentile of the marked pixels ``(H, W)``.

    It is what ``np.percentile`` returns, in a fraction of the time. A stable sort of bytes is a radix sort.
    """
    marked = np.sort(strength[mask > 0], kind="stable")
    rank = (marked.size - 1) * FULL_INK_PERCENTILE / 100
    below, above = int(marked[math.floor(rank)]), int(marked[math.ceil(rank)])
    return below + (above - below) * (rank % 1)


def trim(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Trim to the box of what is nearly as strong as the strongest ink: the finest pen becomes grey when shrunk."""
    is_ink = ink >= TRIM_SHARE * float(ink.max())
    left, top, width, height = cv2.boundingRect(is_ink.astype(np.uint8))
    return ink[top : top + height, left : left + width]


def widen_strokes(ink: NDArray[np.float32], missing: float) -> NDArray[np.float32]:
    """Widen the strokes by about ``missing`` pixels. The picture grows on each side."""
    width = 2 * max(1, round(missing / 2)) + 1
    ink = cv2.copyMakeBorder(ink, width, width, width, width, cv2.BORDER_CONSTANT)
    return cv2.dilate(ink, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))


def centre_by_mass(grey: Grey) -> Grey:
    """Put up to 20x20 pixels on black ``(28, 28)``, the centre of mass as near to the middle as the edges allow."""
    height, width = grey.shape
    moments = cv2.moments(grey)
    total = moments["m00"] or 1.0
    middle = (IMAGE_SIZE - 1) / 2
    top = min(max(round(middle - moments["m01"] / total), 0), IMAGE_SIZE - height)
    left = min(max(round(middle - moments["m10"] / total), 0), IMAGE_SIZE - width)
    canvas = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    canvas[top : top + height, left : left + width] = grey
    return canvas


def resize_to_28x28(grey: Grey) -> Grey:
    """Resize to 28x28 whatever the aspect ratio, averaging over areas where the picture is larger."""
    if grey.shape == (IMAGE_SIZE, IMAGE_SIZE):
        return grey
    is_larger = min(grey.shape) >= IMAGE_SIZE
    return np.asarray(
        cv2.resize(grey, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA if is_larger else cv2.INTER_CUBIC)
    )
