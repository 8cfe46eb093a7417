"""Sketched digits have the shapes of Swiss and American writers."""

import numpy as np
import pytest

from training.pages.shapes import SHAPES, sketch_digit, space_evenly


@pytest.mark.parametrize("label", range(10))
def test_a_sketch_is_as_high_as_a_digit(label: int) -> None:
    """Every shape is about one unit high, not wider than high, and around (0, 0)."""
    for seed in range(10):
        points = np.concatenate(sketch_digit(label, np.random.default_rng(seed)))
        width, height = np.ptp(points, axis=0)
        assert 0.75 < height < 1.3
        assert width < height
        assert np.abs((points.max(axis=0) + points.min(axis=0)) / 2).max() < 0.3


def test_the_shapes_that_people_confuse_occur() -> None:
    """A 1 may be one straight line; a 4 may be open, in two strokes; a 5 may have its bar apart; a 7 may be barred."""
    assert [[(0.5, 0), (0.5, 1)]] in SHAPES[1]
    assert {len(shape) for shape in SHAPES[4]} == {1, 2}
    assert {len(shape) for shape in SHAPES[5]} == {1, 2}
    assert {len(shape) for shape in SHAPES[7]} == {1, 2}


def test_points_are_spaced_evenly() -> None:
    """The steps along a path of uneven corners are equally long."""
    path = space_evenly(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 9.0]]), 21)
    np.testing.assert_allclose(np.abs(np.diff(path, axis=0)).sum(axis=1), 0.5)
