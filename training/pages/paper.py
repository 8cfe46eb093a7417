"""Paper: its colour, its fibres, its creases and stains."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.pages.texture import make_noise

Pixels = NDArray[np.float32]  # (H, W, 3), red, green and blue, 0 to 255

WHITE = (245, 245, 243)
YELLOWED = (235, 220, 180)
RECYCLED = (205, 203, 195)
COLOURED = ((250, 235, 130), (200, 225, 245), (245, 205, 215), (215, 240, 205))  # sticky notes, index cards


def make_paper(shape: tuple[int, int], generator: Generator) -> Pixels:
    """Make an empty sheet ``(H, W, 3)``: mostly white, some yellowed, recycled or coloured, some creased."""
    kinds = [WHITE, YELLOWED, RECYCLED, COLOURED[int(generator.integers(len(COLOURED)))]]
    colour = np.array(kinds[int(generator.choice(4, p=[0.66, 0.16, 0.1, 0.08]))], np.float32)
    level = np.ones(shape, np.float32)
    level += make_noise(shape, 1, generator) * np.float32(generator.uniform(0, 0.008))
    level += make_noise(shape, max(shape) / 12, generator) * np.float32(generator.uniform(0, 0.008))
    if generator.random() < 0.25:
        for _ in range(int(generator.integers(1, 4))):
            level += make_crease(shape, generator)
    if generator.random() < 0.08:  # stains
        stains = (make_noise(shape, max(shape) / 4, generator) - 1).clip(0, 1)
        level -= stains * np.float32(generator.uniform(0.02, 0.12))
    pixels: Pixels = level[..., None] * colour * np.float32(generator.uniform(0.92, 1.02))
    return pixels


def make_crease(shape: tuple[int, int], generator: Generator) -> NDArray[np.float32]:
    """Make the change of brightness ``(H, W)`` along a fold: one side is lit, the other is in the shade."""
    height, width = shape
    direction = generator.choice([0, np.pi / 2]) if generator.random() < 0.6 else generator.uniform(0, np.pi)
    direction += generator.normal(0, 0.03)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    away = (x - width * generator.uniform(0.15, 0.85)) * np.float32(np.cos(direction))
    away += (y - height * generator.uniform(0.15, 0.85)) * np.float32(np.sin(direction))
    sharp, soft = max(1.0, max(shape) / 900), max(shape) * generator.uniform(0.01, 0.05)
    line = np.exp(-((away / sharp) ** 2) / 2) * generator.uniform(-0.12, 0.06)
    sides = np.tanh(away / sharp) * np.exp(-np.abs(away) / soft) * generator.uniform(-0.06, 0.06)
    change: NDArray[np.float32] = (line + sides).astype(np.float32)
    return change
