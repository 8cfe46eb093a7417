"""A grey picture of a digit -> the MNIST convention: (28, 28), light ink on black, centred by mass.

MNIST's own convention (LeCun et al. 1998): the digit is fitted into 20x20 with its aspect kept, and its centre of mass
is put in the middle of 28x28. Knows nothing of files, networks or what the digit is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 28  # of the whole
BOX = 20  # that the digit is fitted into
MIN_CONTRAST = 24  # grey levels between paper and ink; less than this is paper alone

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Normalized:
    """A picture as the network takes it, and what was done to it."""

    pixels: Grey  # (28, 28)
    normalized: bool  # cut out, resized and centred
    inverted: bool  # it was dark ink on light paper
    blank: bool  # there is no ink


def normalize(grey: Grey) -> Normalized:
    """Bring ``uint8 (H, W)`` to the MNIST convention.

    A picture that is 28x28 is only inverted, if its border is light; light on dark, it is used as it is, bit for bit.
    """
    inverted = bool(np.median(border(grey)) > 127)
    if inverted:
        grey = 255 - grey
    blank = int(grey.max()) - int(grey.min()) < MIN_CONTRAST
    if grey.shape == (SIZE, SIZE):
        return Normalized(grey, normalized=False, inverted=inverted, blank=blank)
    pixels = np.zeros((SIZE, SIZE), np.uint8) if blank else centre(fit(cut_out(lift(grey))))
    return Normalized(pixels, normalized=not blank, inverted=inverted, blank=blank)


def border(grey: Grey) -> Grey:
    """The outermost pixels, which are paper in nearly every picture."""
    return np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])


def lift(grey: Grey) -> Grey:
    """Stretch the greys so that paper is 0 and the strongest ink 255."""
    paper = float(np.median(border(grey)))
    lifted = (grey.astype(np.float32) - paper) * (255 / max(float(grey.max()) - paper, 1))
    return lifted.clip(0, 255).astype(np.uint8)


def cut_out(grey: Grey) -> Grey:
    """Cut to the box that holds the ink."""
    ink = grey > 76  # three tenths of full ink: past the grain of paper, short of the soft edge of a stroke
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def fit(grey: Grey) -> Grey:
    """Resize so that the longer side is 20 pixels, averaging over the area that each pixel stands for."""
    height, width = grey.shape
    scale = BOX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = Image.fromarray(grey).resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    return np.asarray(resized)


def centre(grey: Grey) -> Grey:
    """Lay up to 20x20 on 28x28 black, its centre of mass as near the middle as the edges allow."""
    height, width = grey.shape
    weight = grey.astype(np.float64)
    total = weight.sum() or 1.0
    row = (weight.sum(axis=1) @ np.arange(height)) / total
    column = (weight.sum(axis=0) @ np.arange(width)) / total
    middle = (SIZE - 1) / 2
    top = min(max(round(middle - row), 0), SIZE - height)
    left = min(max(round(middle - column), 0), SIZE - width)
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    canvas[top : top + height, left : left + width] = grey
    return canvas
