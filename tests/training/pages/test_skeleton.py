"""Skeletons keep the shape of a digit, and nothing of its thickness."""

import cv2
import numpy as np
import pytest

from training.pages.skeleton import smooth, thin, trace_paths, trace_strokes


def draw_ring_with_tail() -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Draw a thick ring with a tail, like a 9."""
    canvas = np.zeros((80, 80), np.uint8)
    cv2.circle(canvas, (40, 25), 15, 1, 7)
    cv2.line(canvas, (55, 25), (50, 72), 1, 7)
    return canvas > 0


def test_thinning_keeps_the_parts_and_holes() -> None:
    """A ring with a tail stays one piece with one hole, and no 2x2 block of ink is left."""
    lines = thin(draw_ring_with_tail())
    pieces, _ = cv2.connectedComponents(lines.astype(np.uint8), connectivity=8)
    grounds, _ = cv2.connectedComponents((~lines).astype(np.uint8), connectivity=4)
    assert (pieces - 1, grounds - 1) == (1, 2)
    blocks = lines[1:, 1:] & lines[:-1, 1:] & lines[1:, :-1] & lines[:-1, :-1]
    assert blocks.sum() <= 1


def test_paths_visit_every_pixel_of_the_lines() -> None:
    """Together, the paths contain every pixel of the lines, and consecutive ones are neighbours."""
    lines = thin(draw_ring_with_tail())
    paths = trace_paths(lines)
    assert {pixel for path in paths for pixel in path} == {(int(y), int(x)) for y, x in np.argwhere(lines)}
    for path in paths:
        assert np.abs(np.diff(np.array(path), axis=0)).max() == 1


def test_a_ring_without_a_junction_is_traced_around() -> None:
    """A ring alone, like a 0, is one path that ends where it starts."""
    canvas = np.zeros((60, 60), np.uint8)
    cv2.circle(canvas, (30, 30), 20, 1, 5)
    paths = trace_paths(thin(canvas > 0))
    assert len(paths) == 1
    assert paths[0][0] == paths[0][-1]


def test_strokes_are_in_heights_of_a_digit() -> None:
    """A bar of 20 pixels in the middle becomes one stroke from about -0.5 to 0.5."""
    digit = np.zeros((28, 28), np.uint8)
    digit[4:24, 13:15] = 255
    (stroke,) = trace_strokes(digit)
    assert sorted([stroke[0, 1], stroke[-1, 1]]) == pytest.approx([-0.5, 0.5], abs=0.08)
    assert stroke[:, 0] == pytest.approx(0, abs=0.03)


def test_smoothing_keeps_the_ends() -> None:
    """A zigzag becomes flatter, but starts and ends where it did."""
    zigzag = np.stack([np.arange(30.0), np.arange(30) % 2 * 1.0], axis=1)
    flat = smooth(zigzag, 3)
    np.testing.assert_allclose(flat[[0, -1]], zigzag[[0, -1]], atol=0.01)
    assert np.ptp(flat[8:-8, 1]) < 0.1
