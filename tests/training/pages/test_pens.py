"""Pens draw strokes of the wanted size, width and evenness."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from training.pages.pens import BALLPOINT, CHALK, FELT, LEAST_WIDTH, MARKER, PENCIL, Pen, draw_strokes
from training.pages.sheet import VISIBLE

BAR = [np.array([[0.0, -0.5], [0.0, 0.5]])]
EVEN = replace(MARKER, widths=(0.1, 0.1), strengths=(1.0, 1.0), pressure=0, swelling=0, grain=0)


@pytest.mark.parametrize("size", [15, 60, 300])
def test_a_bar_has_the_size_and_width_of_its_pen(size: int) -> None:
    """The height is that of the stroke plus a width of the pen, within two pixels; the width is the pen's."""
    ink = draw_strokes(BAR, size, EVEN, np.random.default_rng(0))
    assert ink[:, ink.shape[1] // 2].sum() == pytest.approx(size * 1.1, abs=2)
    assert ink[ink.shape[0] // 2].sum() == pytest.approx(max(size * 0.1, LEAST_WIDTH), abs=1)


@pytest.mark.parametrize("pen", [BALLPOINT, PENCIL, MARKER, FELT, CHALK], ids=lambda pen: pen.name)
def test_coverage_is_a_share(pen: Pen) -> None:
    """Every pixel is from 0 to 1, the ink is cropped, and thin strokes are visible."""
    generator = np.random.default_rng(1)
    ink = draw_strokes(BAR, 14, pen.draw_out(generator), generator)
    assert ink.dtype == np.float32
    assert ink.min() >= 0
    assert ink.max() <= 1
    assert (ink > VISIBLE).sum() > 10
    assert ink[0].max() > 0
    assert ink[:, 0].max() > 0


def test_a_ballpoint_skips_and_a_marker_does_not() -> None:
    """Of 40 long strokes, some of a ballpoint are in pieces, and none of a marker is."""

    def count_broken(pen: Pen) -> int:
        broken = 0
        for seed in range(40):
            generator = np.random.default_rng(seed)
            ink = draw_strokes(BAR, 100, pen.draw_out(generator), generator)
            broken += cv2.connectedComponents((ink > VISIBLE).astype(np.uint8))[0] > 2
        return broken

    assert count_broken(BALLPOINT) >= 3
    assert count_broken(MARKER) == 0


def test_chalk_is_grainier_than_a_felt_pen() -> None:
    """The levels inside a stroke of chalk differ more."""

    def measure_grain(pen: Pen) -> float:
        ink = draw_strokes(BAR, 200, replace(pen, widths=(0.1, 0.1), skips=0), np.random.default_rng(0))
        return float(ink[40:-40, 7:-7].std())

    assert measure_grain(CHALK) > 2 * measure_grain(FELT)
