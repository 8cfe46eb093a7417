"""Pens: how a stroke becomes ink. A ballpoint skips, a pencil and chalk are grainy, a marker is even and wide."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator

from training.pages.sheet import Coverage
from training.pages.skeleton import Stroke
from training.pages.texture import make_noise, make_wave

LEAST_WIDTH = 0.9  # pixels of a stroke; a thinner one disappears in a picture
MOST_ENLARGEMENT = 6  # of thin strokes while they are drawn, so that their edges are smooth
ROUND_WIDTH = 6  # pixels from which OpenCV draws a smooth circle
SHIFT = 4  # binary digits of a fraction of a pixel, for OpenCV


@dataclass(frozen=True)
class Pen:
    """A pen, and how hard it is pressed. Lengths are in heights of a digit."""

    name: str
    widths: tuple[float, float]  # the narrowest and the widest stroke of such pens
    strengths: tuple[float, float]  # the share of the paper that the ink hides
    pressure: float  # deviation of the strength along a stroke
    swelling: float  # deviation of the width along a stroke
    grain: float  # deviation of the strength from pixel to pixel
    skips: float  # share of the path that leaves no ink

    def draw_out(self, generator: Generator) -> "Pen":
        """Return one pen of this kind, with one width and one strength."""
        width, strength = generator.uniform(*self.widths), generator.uniform(*self.strengths)
        skips = self.skips * generator.uniform(0, 2)
        return replace(self, widths=(width, width), strengths=(strength, strength), skips=skips)


BALLPOINT = Pen("ballpoint", (0.03, 0.075), (0.65, 0.95), 0.10, 0.10, 0.10, 0.04)
PENCIL = Pen("pencil", (0.035, 0.085), (0.40, 0.80), 0.14, 0.12, 0.20, 0.01)
MARKER = Pen("marker", (0.09, 0.20), (0.85, 1.00), 0.02, 0.05, 0.02, 0.0)
FELT = Pen("felt pen", (0.05, 0.11), (0.75, 0.98), 0.05, 0.10, 0.05, 0.0)
CHALK = Pen("chalk", (0.05, 0.12), (0.55, 0.90), 0.12, 0.12, 0.40, 0.02)
PAPER_PENS = (BALLPOINT, PENCIL, MARKER, FELT)


def draw_strokes(strokes: Sequence[Stroke], size: float, pen: Pen, generator: Generator) -> Coverage:
    """Draw strokes with a pen, and crop the result to its ink.

    Args:
        strokes: Their points, in heights of a digit.
        size: Pixels of such a height.
        pen: One pen, with one width and one strength.
    """
    width = max(pen.widths[0] * size, LEAST_WIDTH)
    zoom = int(np.clip(np.ceil(ROUND_WIDTH / width), 1, MOST_ENLARGEMENT))
    points = np.concatenate(strokes) * size
    margin = width + 2
    origin = points.min(axis=0) - margin
    shape = np.ceil(points.max(axis=0) + margin - origin).astype(int)[::-1] * zoom
    canvas = np.zeros(shape, np.uint8)
    for stroke in strokes:
        draw_stroke(canvas, (stroke * size - origin) * zoom, width * zoom, pen, generator)
    small = cv2.resize(canvas, (shape[1] // zoom, shape[0] // zoom), interpolation=cv2.INTER_AREA)
    return crop(add_grain(small.astype(np.float32) / 255, size, pen, generator))


def draw_stroke(canvas: Coverage, path: Stroke, width: float, pen: Pen, generator: Generator) -> None:
    """Draw one stroke as overlapping discs, whose size and strength vary slowly along the path."""
    steps = np.hypot(*np.diff(path, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(2, int(along[-1] / max(width / 6, 0.7)))
    at = np.linspace(0, along[-1], count)
    x, y = (np.interp(at, along, path[:, axis]) for axis in (0, 1))
    period = max(2.0, 6 * width * count / max(along[-1], 1))
    strength = (pen.strengths[0] + pen.pressure * make_wave(count, period, generator)).clip(0.15, 1) * 255
    swelling = (1 + pen.swelling * make_wave(count, period, generator)).clip(0.5, 1.6)
    radius = (width * swelling - 1).clip(1) / 2 * 2**SHIFT  # OpenCV adds the pixel in the middle
    # A wave rises above this level in about the wanted share of the path.
    skips = make_wave(count, period / 4, generator) > (2.0 - 10 * pen.skips if pen.skips else np.inf)
    for index in np.flatnonzero(~skips):
        centre = (round(x[index] * 2**SHIFT), round(y[index] * 2**SHIFT))
        cv2.circle(canvas, centre, round(radius[index]), float(strength[index]), -1, cv2.LINE_AA, SHIFT)


def add_grain(ink: Coverage, size: float, pen: Pen, generator: Generator) -> Coverage:
    """Let the roughness of the paper show through the ink."""
    fine = make_noise((ink.shape[0], ink.shape[1]), float(np.clip(size * 0.012, 1, 3)), generator)
    coarse = make_noise((ink.shape[0], ink.shape[1]), float(np.clip(size * 0.03, 1.5, 7)), generator)
    kept: Coverage = (1 + pen.grain * (fine + 0.5 * coarse)).clip(0, 1.25).astype(np.float32)
    return (ink * kept).clip(0, 1)


def crop(ink: Coverage) -> Coverage:
    """Crop ink to the pixels that have some."""
    rows, columns = np.flatnonzero(ink.max(axis=1) > 0.05), np.flatnonzero(ink.max(axis=0) > 0.05)
    if not len(rows):
        return np.ones((1, 1), np.float32)
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
