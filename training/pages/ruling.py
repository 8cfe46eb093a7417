"""Printed lines: ruled and squared paper, dotted lines, frames and tables."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator

from training.pages.sheet import Coverage

RULING_COLOURS = ((120, 150, 205), (150, 150, 155), (95, 95, 100), (205, 130, 140), (30, 30, 35), (110, 165, 130))
RULING_SHARES = (0.34, 0.24, 0.12, 0.1, 0.12, 0.08)
SHIFT = 4  # binary digits of a fraction of a pixel, for OpenCV


def draw_lines(
    shape: tuple[int, int], rows: Sequence[float], columns: Sequence[float], width: float, dash: float = 0
) -> Coverage:
    """Draw straight lines from side to side.

    Args:
        rows: The middles of the horizontal lines, in pixels.
        columns: The middles of the vertical lines.
        width: Of a line, in pixels. A line of less than one pixel is faint.
        dash: Pixels of a dash and of the gap after it. 0 draws whole lines.
    """
    lines = np.zeros(shape, np.float32)
    y, x = np.arange(shape[0]), np.arange(shape[1])
    for row in rows:
        away = (width / 2 + 0.5 - np.abs(y - row)).clip(0, min(1, width))
        drawn = (x % (2 * dash) < dash) if dash else np.ones(len(x), bool)
        touched = slice(max(0, int(row - width - 1)), max(0, int(row + width + 2)))
        lines[touched] = np.maximum(lines[touched], away[touched, None] * drawn)
    for column in columns:
        away = (width / 2 + 0.5 - np.abs(x - column)).clip(0, min(1, width))
        drawn = (y % (2 * dash) < dash) if dash else np.ones(len(y), bool)
        touched = slice(max(0, int(column - width - 1)), max(0, int(column + width + 2)))
        lines[:, touched] = np.maximum(lines[:, touched], away[touched] * drawn[:, None])
    return lines


def draw_frame(width: int, height: int, radius: float, thick: float) -> Coverage:
    """Draw a frame with rounded corners.

    Args:
        width: Pixels of the whole frame.
        height: Pixels of the whole frame.
        radius: Pixels of its corners; 0 for square ones.
        thick: Pixels of its line.
    """
    margin = thick / 2 + 1
    y, x = np.mgrid[:height, :width].astype(np.float32)
    radius = min(radius, (width - 2 * margin) / 2, (height - 2 * margin) / 2)
    # The distance from a rounded rectangle: that from a smaller one with square corners, less the radius.
    across = np.abs(x - (width - 1) / 2) - ((width - 1) / 2 - margin - radius)
    down = np.abs(y - (height - 1) / 2) - ((height - 1) / 2 - margin - radius)
    outside = np.hypot(across.clip(0), down.clip(0)) + np.minimum(np.maximum(across, down), 0) - radius
    frame: Coverage = (thick / 2 + 0.5 - np.abs(outside)).clip(0, min(1, thick)).astype(np.float32)
    return frame


def roughen(lines: Coverage, generator: Generator) -> Coverage:
    """Let a print be uneven, as a copier makes it."""
    coarse = generator.uniform(0.75, 1, (lines.shape[0] // 8 + 2, lines.shape[1] // 8 + 2)).astype(np.float32)
    uneven: Coverage = cv2.resize(coarse, (lines.shape[1], lines.shape[0]), interpolation=cv2.INTER_LINEAR)
    return lines * uneven


def pick_colour(generator: Generator) -> tuple[int, int, int]:
    """Pick the colour of printed lines: blue, grey, red, green or black."""
    return RULING_COLOURS[int(generator.choice(len(RULING_COLOURS), p=RULING_SHARES))]
