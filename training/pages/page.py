"""A synthetic page: a picture file, and everything that is known about it."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from app.imaging.encode import to_png
from app.imaging.rectangle import Rectangle
from training.pages.camera import Shot, encode_jpeg
from training.pages.sheet import Sheet


@dataclass(frozen=True)
class SyntheticPage:
    """A picture of handwritten digits, and what is on it.

    Bits of other digits at the edge, as in the boxes of a form, are in ``classes`` but not in ``text`` and ``boxes``.
    """

    data: bytes  # a JPEG or PNG file
    kind: str
    text: str  # the digits line by line, with "\n" between lines; for one digit just that digit
    boxes: list[list[Rectangle]]  # of each digit of each line, in pixels of the picture
    classes: NDArray[np.uint8]  # (H, W): 0 background, 1 digits, 2 print and printed lines, 3 other handwriting

    @classmethod
    def of(cls, kind: str, sheet: Sheet, shot: Shot, data: bytes) -> "SyntheticPage":
        """Describe what the camera saw of a sheet."""
        height, width = shot.classes.shape
        boxes = [[box.clip(width, height) for box in line] for line in shot.boxes]
        return cls(data, kind, "\n".join(sheet.digits), boxes, shot.classes)


def save(pixels: NDArray[np.uint8], qualities: tuple[int, int], png_share: float, generator: Generator) -> bytes:
    """Encode a picture as JPEG of a random quality, or as PNG in a share of the cases."""
    quality = int(generator.integers(qualities[0], qualities[1] + 1))
    return to_png(pixels, compress_level=1) if generator.random() < png_share else encode_jpeg(pixels, quality)
