"""Finding ink: on any paper, in any light, beside lines and specks."""

import cv2
import numpy as np
import pytest

from app.imaging.ink import MARGIN, around, find_ink, stroke_width
from tests.support.pictures import Grey

HEIGHT, WIDTH = 240, 320


def cross(paper: float = 220, ink: float = 40) -> Grey:
    """A plus sign, 80 pixels high, with strokes of 10."""
    page = np.full((HEIGHT, WIDTH), paper, np.float32)
    page[80:160, 115:125] = ink
    page[115:125, 80:160] = ink
    return page.astype(np.uint8)


def found(grey: Grey) -> tuple[int, int, int, int]:
    ink = find_ink(grey)
    box = around(ink.pieces)
    return box.left, box.top, box.right, box.bottom


def near(box: tuple[int, int, int, int], by: int = 2) -> bool:
    return all(abs(a - b) <= by for a, b in zip(box, (80, 80, 160, 160), strict=True))


@pytest.mark.parametrize(("paper", "ink"), [(220, 40), (255, 0), (140, 90), (30, 200), (0, 255), (90, 150)])
def test_ink_is_found_dark_or_light(paper: int, ink: int) -> None:
    """Its box, and whether it is darker than its paper."""
    page = cross(paper, ink)
    assert near(found(page))
    assert find_ink(page).inverted == (ink < paper)


def test_a_slope_of_light_is_not_ink() -> None:
    """Paper that is half as bright on one side as on the other."""
    slope = np.linspace(1, 0.5, WIDTH)[None, :]
    assert near(found((cross() * slope).astype(np.uint8)))


@pytest.mark.parametrize("edge", [40, 100, 200, 290])
def test_the_edge_of_a_shadow_is_not_ink(edge: int) -> None:
    """A hard shadow over part of the picture, the writing included."""
    page = cross().astype(np.float32)
    page[:, edge:] *= 0.6
    assert near(found(page.astype(np.uint8)))


def test_the_corner_of_a_shadow_is_not_ink() -> None:
    """A small dark triangle in a corner is no stroke, though it is as thin as one."""
    y, x = np.indices((HEIGHT, WIDTH))
    page = np.where(x + y < 60, cross() * 0.5, cross())
    assert near(found(page.astype(np.uint8)))


def test_grain_and_specks_are_not_ink() -> None:
    """Noise of six levels, and dots of a pixel."""
    generator = np.random.default_rng(0)
    page = cross() + generator.normal(0, 6, (HEIGHT, WIDTH))
    page[generator.random((HEIGHT, WIDTH)) < 0.001] = 40
    page[70:172, 70:172] = (cross() + generator.normal(0, 6, (HEIGHT, WIDTH)))[70:172, 70:172]
    assert near(found(page.clip(0, 255).astype(np.uint8)))


@pytest.mark.parametrize("level", [60, 150])
def test_ruled_lines_are_not_ink_pale_or_dark(level: int) -> None:
    """Lines from side to side, one of them across the writing, which stays whole."""
    page = cross()
    for row in range(20, HEIGHT, 40):
        page[row : row + 2] = np.minimum(page[row : row + 2], level)
    assert near(found(page), by=4)
    assert len(find_ink(page).pieces) == 1


def test_the_box_of_a_form_is_not_ink() -> None:
    """A printed frame around the writing, as dark as it."""
    page = cross()
    cv2.rectangle(page, (50, 50), (190, 190), 40, 2)
    assert near(found(page))


def test_a_lone_straight_stroke_is_kept() -> None:
    """A 1 as long and straight as a ruled line is ink, for nothing else is there."""
    page = np.full((HEIGHT, WIDTH), 220, np.uint8)
    page[20:220, 150:156] = 40
    assert around(find_ink(page).pieces).height >= 198


def test_what_is_cut_out_has_its_soft_edges_and_nothing_of_its_neighbour() -> None:
    """Of two blurred bars the one that is asked for, with a margin of paper."""
    page = np.full((HEIGHT, WIDTH), 220, np.float32)
    page[60:180, 100:112] = page[60:180, 124:136] = 40
    ink = find_ink(cv2.GaussianBlur(page, (0, 0), 2).astype(np.uint8))
    assert len(ink.pieces) == 2
    left = min(ink.pieces, key=lambda piece: piece.box.left)
    cut = ink.cut(left.box, ink.core([left]))
    assert cut.strength.shape == (left.box.height + 2 * MARGIN, left.box.width + 2 * MARGIN)
    columns = cut.strength.max(axis=0)
    assert columns[0] == columns[-1] == 0
    assert 0 < columns[MARGIN - 1] < columns.max()
    assert cut.stroke == pytest.approx(12, abs=3)


@pytest.mark.parametrize("width", [2, 5, 12])
def test_the_width_of_a_stroke(width: int) -> None:
    """Of a bar, to a pixel or so; of nothing, 0."""
    bar = np.zeros((100, 60), np.uint8)
    bar[10:90, 20 : 20 + width] = 1
    assert stroke_width(bar) == pytest.approx(width, abs=1.2)
    assert stroke_width(np.zeros((5, 5), np.uint8)) == 0


def test_a_picture_of_noise_has_a_bounded_number_of_pieces() -> None:
    """Whatever is sent, what follows has not more to do than for a page of writing."""
    noise = np.random.default_rng(0).integers(0, 2, (1500, 1500)).astype(np.uint8) * 255
    assert len(find_ink(noise).pieces) <= 200


@pytest.mark.parametrize("shape", [(1, 1), (1, 9999), (9999, 1), (41, 1), (3, 41), (2, 70_000), (40, 40)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_any_shape_is_looked_at(shape: tuple[int, int], level: int) -> None:
    """Paper of any shape has no ink; a dot on it does no harm."""
    page = np.full(shape, level, np.uint8)
    assert not find_ink(page).pieces
    page[0, 0] = 255 - level
    find_ink(page)
