"""Pieces of ink: how wide their strokes are."""

import numpy as np
import pytest

from app.imaging.pieces import measure_stroke_width


@pytest.mark.parametrize("width", [2, 5, 12])
def test_the_stroke_width_of_a_bar_is_right_to_about_a_pixel(width: int) -> None:
    """The paper around it does not matter. Without ink it is 0."""
    bar = np.zeros((100, 60), np.uint8)
    bar[10:90, 20 : 20 + width] = 1
    assert measure_stroke_width(bar) == pytest.approx(width, abs=1.2)
    assert measure_stroke_width(bar[10:90, 20 : 20 + width]) == pytest.approx(measure_stroke_width(bar))
    assert measure_stroke_width(np.zeros((5, 5), np.uint8)) == 0
