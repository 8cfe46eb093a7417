"""Slightly bent copies of digit images, so that a benchmark can send many different pictures."""

from collections.abc import Sequence
from random import Random

import numpy as np
from PIL import Image

from app.imaging.digit_image import IMAGE_SIZE, Grey
from app.imaging.encode import to_png


def make_variants(digits: Sequence[Grey], count: int) -> list[bytes]:
    """Make ``count`` different PNG files from digit images ``(28, 28)``, the same ones on every call.

    Each variant is a digit that is a little sheared, shifted and shrunk. It stays within the 20x20 pixels that MNIST's
    digits have, so the service reads it as it is.
    """
    images = [Image.fromarray(digit) for digit in digits]
    random = Random(0)
    files: dict[bytes, None] = {}
    middle = IMAGE_SIZE / 2
    while len(files) < count:
        scale_x, scale_y = random.uniform(1.02, 1.12), random.uniform(1.02, 1.12)
        shear_x, shear_y = random.uniform(-0.08, 0.08), random.uniform(-0.08, 0.08)
        shift_x, shift_y = random.uniform(-0.3, 0.3), random.uniform(-0.3, 0.3)
        around_middle = (
            *(scale_x, shear_x, middle * (1 - scale_x - shear_x) + shift_x),
            *(shear_y, scale_y, middle * (1 - shear_y - scale_y) + shift_y),
        )
        bent = images[len(files) % len(images)].transform(
            (IMAGE_SIZE, IMAGE_SIZE), Image.Transform.AFFINE, around_middle, Image.Resampling.BILINEAR
        )
        files[to_png(np.asarray(bent))] = None
    return list(files)
