"""Sources of pages that need no data set: sketched digits in the form of MNIST, and of scans."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.pages.pens import BALLPOINT, FELT, draw_strokes
from training.pages.shapes import sketch_digit
from training.pages.sheet import Coverage
from training.pages.sources import Sources


def put_in_middle(ink: Coverage, side: int) -> Coverage:
    """Put ink in the middle of a square."""
    square = np.zeros((side, side), np.float32)
    top, left = (side - ink.shape[0]) // 2, (side - ink.shape[1]) // 2
    square[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return square


def sketch_mnist(label: int, seed: int) -> NDArray[np.uint8]:
    """Sketch a digit as MNIST has it: white on black, 28x28, about 20 pixels high."""
    generator = np.random.default_rng(seed)
    ink = draw_strokes(sketch_digit(label, generator), 17, FELT.draw_out(generator), generator)
    return (put_in_middle(ink, 28) * 255).astype(np.uint8)


def sketch_scan(label: int, seed: int) -> NDArray[np.uint8]:
    """Sketch a digit as a scan has it: blue on white, 95x95x3."""
    generator = np.random.default_rng(seed)
    ink = draw_strokes(sketch_digit(label, generator), 60, BALLPOINT.draw_out(generator), generator)
    white = np.full((95, 95, 3), 252.0)
    scan: NDArray[np.float64] = white + put_in_middle(ink, 95)[..., None] * (np.array([60, 90, 220]) - white)
    return scan.round().astype(np.uint8)


@pytest.fixture(scope="session")
def sources() -> Sources:
    """Five digits of each kind in the form of MNIST, and two scans of each by one writer."""
    labels = np.arange(50) % 10
    digits = np.stack([sketch_mnist(int(label), seed) for seed, label in enumerate(labels)])
    scans = {"0042": {label: [sketch_scan(label, label), sketch_scan(label, label + 10)] for label in range(10)}}
    return Sources(digits, labels, scans)
