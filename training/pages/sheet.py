"""A sheet: the pixels that somebody wrote and printed on, and what each of them is."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Coverage = NDArray[np.float32]  # (H, W) in [0, 1]: how much of each pixel is ink
Outline = NDArray[np.float32]  # (N, 1, 2): the convex hull of a digit's ink, x and y in pixels

BACKGROUND, DIGIT, PRINT, OTHER_HANDWRITING = range(4)  # the classes of pixels
VISIBLE = 0.2  # the coverage from which a pixel is ink rather than background


@dataclass
class Sheet:
    """A sheet while things are put on it."""

    pixels: NDArray[np.float32]  # (H, W, 3), red, green and blue, 0 to 255
    classes: NDArray[np.uint8]  # (H, W)
    digits: list[str] = field(default_factory=list)  # line by line
    outlines: list[list[Outline]] = field(default_factory=list)  # of each digit of each line

    @classmethod
    def of(cls, pixels: NDArray[np.float32]) -> "Sheet":
        """Return a sheet with this paper and nothing on it."""
        return cls(pixels, np.zeros(pixels.shape[:2], np.uint8))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def paint(self, ink: Coverage, left: int, top: int, colour: ArrayLike, kind: int, opacity: float = 1.0) -> None:
        """Paint ink, whose first pixel is at (left, top). What is outside the sheet is lost.

        A digit's pixel stays a digit's, because print under a pen stroke is the stroke to a reader. Ink of a low
        opacity has the same class as if it were dark.
        """
        height, width = self.shape
        rows = slice(max(top, 0), max(0, min(top + ink.shape[0], height)))
        columns = slice(max(left, 0), max(0, min(left + ink.shape[1], width)))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        part = ink[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        area = self.pixels[rows, columns]
        area += part[..., None] * np.float32(opacity) * (np.asarray(colour, np.float32) - area)
        classes = self.classes[rows, columns]
        classes[(part > VISIBLE) & (classes != DIGIT)] = kind

    def start_line(self) -> None:
        """Start a line of digits."""
        self.digits.append("")
        self.outlines.append([])

    def write(self, ink: Coverage, label: int, left: int, top: int, colour: ArrayLike) -> None:
        """Paint a digit, and add it to the current line."""
        self.paint(ink, left, top, colour, DIGIT)
        rows, columns = np.nonzero(ink > VISIBLE)
        points = np.stack([columns + left, rows + top], axis=1).astype(np.float32)
        self.outlines[-1].append(cv2.convexHull(points))
        self.digits[-1] += str(label)
