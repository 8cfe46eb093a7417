"""Random textures: smooth noise, in one and two dimensions."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.float32]  # (H, W)


def make_noise(shape: tuple[int, int], scale: float, generator: Generator, stretch: float = 1.0) -> Field:
    """Make noise with a mean of about 0 and a standard deviation of about 1.

    Args:
        shape: Height and width, in pixels.
        scale: The size of its spots, in pixels. One pixel or less is white noise.
        stretch: How much longer than high the spots are.
    """
    height, width = shape
    rows, columns = int(np.ceil(height / max(scale, 1))) + 2, int(np.ceil(width / max(scale * stretch, 1))) + 2
    coarse = generator.standard_normal((rows, columns), np.float32)
    if scale <= 1 and stretch == 1:
        return coarse[:height, :width]
    large: Field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return large / np.float32(0.75)  # interpolation lowers the deviation


def make_wave(length: int, period: float, generator: Generator) -> NDArray[np.float64]:
    """Make smooth noise ``(length,)`` with a deviation of about 1, which changes within ``period`` samples."""
    knots = int(np.ceil(length / max(period, 1))) + 2
    return np.interp(np.arange(length) / max(period, 1), np.arange(knots), generator.standard_normal(knots))
