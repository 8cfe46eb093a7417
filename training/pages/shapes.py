"""The shapes of handwritten digits, as an adult would sketch them, and how hands vary them.

MNIST lacks some shapes that Europeans write, and a test needs digits when no data set is installed. Each shape is a
list of strokes, each a list of corners that the pen rounds off; x goes right from 0 to 1, y goes down from 0 to 1.
"""

import numpy as np
from numpy.random import Generator

from training.pages.skeleton import Stroke, smooth

Corners = list[tuple[float, float]]

SHAPES: dict[int, list[list[Corners]]] = {
    0: [
        [[(0.55, 0), (0.2, 0.05), (0.05, 0.35), (0.05, 0.7), (0.3, 1), (0.6, 1), (0.85, 0.7), (0.85, 0.3), (0.5, 0)]],
        [[(0.7, 0.1), (0.4, 0), (0.1, 0.25), (0.1, 0.75), (0.4, 1), (0.8, 0.8), (0.8, 0.3), (0.5, -0.02), (0.3, 0.1)]],
    ],
    1: [
        [[(0.5, 0), (0.5, 1)]],
        [[(0.15, 0.35), (0.5, 0), (0.5, 1)]],
        [[(0, 0.55), (0.55, 0), (0.5, 1)]],
        [[(0.2, 0.25), (0.5, 0), (0.5, 1)], [(0.15, 1), (0.85, 1)]],
    ],
    2: [
        [[(0.1, 0.25), (0.3, 0), (0.7, 0), (0.85, 0.3), (0.5, 0.65), (0.05, 1), (0.9, 1)]],
        [[(0.1, 0.2), (0.4, -0.05), (0.8, 0.1), (0.7, 0.5), (0.15, 0.95), (0.1, 0.8), (0.35, 0.85), (0.9, 1)]],
    ],
    3: [
        [[(0.15, 0.1), (0.5, -0.05), (0.85, 0.2), (0.45, 0.47), (0.9, 0.65), (0.7, 1), (0.3, 1.03), (0.05, 0.85)]],
        [[(0.1, 0), (0.85, 0), (0.4, 0.4), (0.85, 0.5), (0.85, 0.9), (0.4, 1.03), (0.05, 0.9)]],
    ],
    4: [
        [[(0.3, 0), (0.1, 0.6), (0.9, 0.6)], [(0.7, 0.25), (0.6, 1)]],
        [[(0.15, 0.05), (0.15, 0.5), (0.75, 0.5)], [(0.75, 0), (0.75, 1)]],
        [[(0.65, 0), (0.05, 0.68), (0.95, 0.68)], [(0.65, 0), (0.65, 1)]],
        [[(0.95, 0.65), (0.05, 0.65), (0.65, 0), (0.6, 1)]],
    ],
    5: [
        [[(0.2, 0), (0.15, 0.45), (0.6, 0.38), (0.9, 0.65), (0.65, 1), (0.05, 0.95)], [(0.2, 0), (0.9, 0)]],
        [[(0.25, 0.06), (0.15, 0.45), (0.7, 0.4), (0.85, 0.8), (0.4, 1.05), (0, 0.9)], [(0.3, -0.02), (0.95, -0.06)]],
        [[(0.9, 0), (0.25, 0), (0.15, 0.45), (0.65, 0.38), (0.9, 0.7), (0.6, 1.03), (0.05, 0.92)]],
    ],
    6: [
        [[(0.75, 0), (0.3, 0.25), (0.05, 0.7), (0.25, 1.03), (0.75, 1), (0.85, 0.7), (0.55, 0.5), (0.1, 0.75)]],
        [[(0.5, 0), (0.1, 0.5), (0.1, 0.9), (0.5, 1.05), (0.85, 0.8), (0.6, 0.55), (0.25, 0.6), (0.1, 0.8)]],
    ],
    7: [
        [[(0.05, 0), (0.9, 0), (0.6, 0.45), (0.4, 1)]],
        [[(0.05, 0), (0.9, 0), (0.4, 1)], [(0.25, 0.5), (0.9, 0.47)]],
        [[(0.05, 0.15), (0.1, 0), (0.9, 0.02), (0.5, 0.5), (0.4, 1)], [(0.3, 0.5), (0.8, 0.48)]],
    ],
    8: [
        [
            [(0.75, 0.15), (0.45, -0.05), (0.1, 0.15), (0.3, 0.42), (0.75, 0.6), (0.85, 0.9)],
            [(0.85, 0.9), (0.45, 1.07), (0.05, 0.85), (0.25, 0.58), (0.7, 0.4), (0.8, 0.15)],
        ],
        [
            [(0.5, 0.45), (0.15, 0.25), (0.45, -0.05), (0.8, 0.2), (0.5, 0.45)],
            [(0.5, 0.45), (0.05, 0.75), (0.45, 1.08), (0.9, 0.75), (0.5, 0.45)],
        ],
    ],
    9: [
        [[(0.8, 0.2), (0.5, -0.03), (0.1, 0.2), (0.25, 0.52), (0.65, 0.48), (0.86, 0.02), (0.84, 0.4), (0.7, 1)]],
        [[(0.8, 0.15), (0.4, -0.05), (0.1, 0.3), (0.5, 0.55), (0.8, 0.15), (0.8, 0.8), (0.5, 1.05), (0.1, 0.9)]],
    ],
}
SAMPLES = 60  # points on a stroke
DEVIATION = 0.03  # of a corner, in heights of a digit


def sketch_digit(label: int, generator: Generator) -> list[Stroke]:
    """Sketch a digit in one of its shapes. One unit is its height; the middle is about (0, 0)."""
    shapes = SHAPES[label]
    width = generator.uniform(0.5, 0.85)
    roundness = generator.uniform(1.5, 5)
    strokes = []
    for corners in shapes[int(generator.integers(len(shapes)))]:
        points = np.array(corners) + generator.normal(0, DEVIATION, (len(corners), 2))
        strokes.append(smooth(space_evenly(points, SAMPLES), roundness) * (width, 1) - (width / 2, 0.5))
    return strokes


def space_evenly(points: Stroke, count: int) -> Stroke:
    """Return ``count`` points at equal distances along a path."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    at = np.linspace(0, along[-1], max(count, 2))
    return np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], axis=1)
