"""A grey picture of a digit -> the MNIST convention: (28, 28), light ink on black, centred by mass.

MNIST's own convention (LeCun et al. 1998): the digit is fitted into 20x20 with its aspect kept, and its centre of mass
is put in the middle of 28x28. A picture that has come so goes through untouched. Knows nothing of files, networks or
what the digit is.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.digit_image import DIGIT_SIZE, IMAGE_SIZE, Grey
from app.imaging.ink import Cut, Piece, around, find_ink
from app.imaging.rectangle import Rectangle

MIN_CONTRAST = 24  # grey levels between paper and ink; less than this is paper alone
INK = 0.3  # of the lightest pixel: past the grain of paper, short of the soft edge of a stroke
OFF_CENTRE = 1.0  # pixels that a centre of mass may be off in the convention; MNIST rounds to whole ones
THINNEST = 2.0  # pixels of 28: a stroke that would be thinner is widened, for MNIST's are two to four
FINE = 240  # pixels, the longer side at which a digit is fitted; more shows no more of it
TRIM = 0.3  # of full ink: where the box that is fitted into 20x20 begins
FULL = 80  # percentile of a stroke's pixels that counts as full ink
NEAR = 0.25  # of the digit's size: a small piece that is nearer is part of it, as the bar of a 5 is
ROWS, COLUMNS = np.indices((IMAGE_SIZE, IMAGE_SIZE)).reshape(2, -1)
MASS = np.stack([np.ones_like(ROWS), COLUMNS, ROWS]).astype(np.float32)  # exact: every sum is below 2**24
BORDER = np.flatnonzero((ROWS % (IMAGE_SIZE - 1) == 0) | (COLUMNS % (IMAGE_SIZE - 1) == 0))

Mode = Literal["auto", "always", "never"]


class Normalized(NamedTuple):
    """A picture as the network takes it, and what was done to it."""

    pixels: Grey  # (28, 28)
    normalized: bool = False  # cut out, resized and centred
    inverted: bool = False  # it was dark ink on light paper
    blank: bool = False  # there is no ink
    several: bool = False  # there is more than one digit's ink
    box: Rectangle | None = None  # of the ink, in pixels of the picture, where it was looked for


def normalize(grey: Grey, mode: Mode = "auto") -> Normalized:
    """Bring ``uint8 (H, W)`` to the MNIST convention.

    ``auto`` leaves a picture that is in it as it is, bit for bit, or takes its negative; ``always`` cuts out and fits
    whatever comes; ``never`` only resizes to 28x28.
    """
    if mode == "never":
        return Normalized(resized(grey), blank=int(grey.max()) - int(grey.min()) < MIN_CONTRAST)
    if mode == "auto" and grey.shape == (IMAGE_SIZE, IMAGE_SIZE):
        edge = border(grey)
        black = 2 * edge.tobytes().count(0) > edge.size  # as of nearly all that comes: then no more is asked of it
        inverted = not black and mostly(edge > 127)
        upright = 255 - grey if inverted else grey
        darkest, lightest, _, _ = cv2.minMaxLoc(upright)
        if lightest - darkest < MIN_CONTRAST:
            return Normalized(upright, inverted=inverted, blank=True)
        if (black or not mostly(border(upright) >= MIN_CONTRAST)) and is_fitted(upright, lightest):
            return Normalized(upright, inverted=inverted)
    return cut_out(grey)


def border(grey: Grey) -> Grey:
    """The outermost pixels of ``(28, 28)``, which are paper in nearly every picture."""
    return grey.ravel()[BORDER]


def mostly(pixels: NDArray[np.bool_]) -> bool:
    return 2 * int(np.count_nonzero(pixels)) > pixels.size


def is_fitted(grey: Grey, lightest: float) -> bool:
    """Tell whether the ink of ``(28, 28)`` is within 20x20, and its centre of mass in the middle.

    Ink that reaches the edge may be off centre, for it could not be moved further.
    """
    left, top, width, height = cv2.boundingRect(grey)
    if (
        width > DIGIT_SIZE
        or height > DIGIT_SIZE
        or not (0 < left < IMAGE_SIZE - width and 0 < top < IMAGE_SIZE - height)
    ):
        # It matters how light it is there: what is fainter than ink may be anywhere.
        _, ink = cv2.threshold(grey, int(INK * lightest), 255, cv2.THRESH_BINARY)
        left, top, width, height = cv2.boundingRect(ink)
        if width > DIGIT_SIZE or height > DIGIT_SIZE:
            return False
    mass, across, down = MASS.dot(grey.ravel().astype(np.float32)).tolist()  # cv2.moments takes twice as long
    for first, extent, moment in ((left, width, across), (top, height, down)):
        free = first > 0 and first + extent < IMAGE_SIZE
        if free and abs(moment / mass - (IMAGE_SIZE - 1) / 2) > OFF_CENTRE:
            return False
    return True


def cut_out(grey: Grey) -> Normalized:
    """Find the digit on its paper, and fit it."""
    ink = find_ink(grey)
    if not ink.pieces:
        return Normalized(np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8), inverted=ink.inverted, blank=True)
    digit, others = chosen(ink.pieces)
    box = around(digit)
    return Normalized(
        fitted(ink.cut(box, ink.core(digit))),
        normalized=True,
        inverted=ink.inverted,
        several=any(piece.box.size > box.size / 2 for piece in others),
        box=box.scaled(1 / ink.scale),
    )


def chosen(pieces: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
    """Choose the piece with most ink, and what belongs to it: small pieces beside it, and smaller ones beside those."""
    digit, others = [max(pieces, key=lambda piece: piece.area)], list(pieces)
    others.remove(digit[0])
    while True:
        box = around(digit)
        near = [p for p in others if p.box.gap(box) <= NEAR * box.size and p.box.height < box.height / 2]
        if not near:
            return digit, others
        digit += near
        others = [piece for piece in others if piece not in near]


def fitted(cut: Cut) -> Grey:
    """Fit ink that was cut out of a picture into 20x20, and centre it by mass in 28x28.

    Its full strength becomes white, and soft edges stay soft. A stroke of a fine pen is widened first, before it would
    vanish among the pixels.
    """
    full = max(float(np.percentile(cut.strength[cut.core > 0], FULL)), 1.0)
    ink, stroke = np.minimum(cut.strength.astype(np.float32) / full, 1), cut.stroke
    if (shrink := FINE / max(ink.shape)) < 1:
        ink, stroke = cv2.resize(ink, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), stroke * shrink
    ink = trimmed(ink, full=float(ink.max()))
    missing = THINNEST * max(ink.shape) / DIGIT_SIZE - stroke
    if missing >= 1:
        width = 2 * max(1, round(missing / 2)) + 1
        ink = cv2.copyMakeBorder(ink, width, width, width, width, cv2.BORDER_CONSTANT)
        ink = cv2.dilate(ink, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width)))
        ink = trimmed(ink, full=float(ink.max()))
    height, width = ink.shape
    scale = DIGIT_SIZE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(ink, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return centred((small.clip(0, 1) * 255).round().astype(np.uint8))


def trimmed(ink: NDArray[np.float32], full: float) -> NDArray[np.float32]:
    """Cut to the box of what is ink, or nearly. ``full`` is the strongest: the finest pen is grey when it is shrunk."""
    held = ink >= TRIM * full
    rows, columns = np.flatnonzero(held.any(axis=1)), np.flatnonzero(held.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def centred(grey: Grey) -> Grey:
    """Lay up to 20x20 on 28x28 black, its centre of mass as near the middle as the edges allow."""
    height, width = grey.shape
    weight = grey.astype(np.float64)
    total = weight.sum() or 1.0
    row = (weight.sum(axis=1) @ np.arange(height)) / total
    column = (weight.sum(axis=0) @ np.arange(width)) / total
    middle = (IMAGE_SIZE - 1) / 2
    top = min(max(round(middle - row), 0), IMAGE_SIZE - height)
    left = min(max(round(middle - column), 0), IMAGE_SIZE - width)
    canvas = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    canvas[top : top + height, left : left + width] = grey
    return canvas


def resized(grey: Grey) -> Grey:
    """Resize to 28x28, whatever the aspect, averaging over the area that each pixel stands for."""
    if grey.shape == (IMAGE_SIZE, IMAGE_SIZE):
        return grey
    larger = min(grey.shape) >= IMAGE_SIZE
    return np.asarray(
        cv2.resize(grey, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA if larger else cv2.INTER_CUBIC)
    )
