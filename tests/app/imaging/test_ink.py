"""Finding ink: on any paper, in any light, beside printed lines and specks."""

import cv2
import numpy as np
import pytest

from app.imaging.ink import MARGIN_PX, find_ink
from app.imaging.pieces import enclose_pieces
from tests.support.pictures import Grey

HEIGHT, WIDTH = 240, 320
CROSS_BOX = (80, 80, 160, 160)


def draw_cross(paper: float = 220, ink: float = 40) -> Grey:
    """Draw a plus sign, 80 pixels high, with strokes 10 pixels wide."""
    page = np.full((HEIGHT, WIDTH), paper, np.float32)
    page[80:160, 115:125] = ink
    page[115:125, 80:160] = ink
    return page.astype(np.uint8)


def is_cross(grey: Grey, tolerance: int = 2) -> bool:
    """Return whether the box of the ink is that of the cross."""
    box = enclose_pieces(find_ink(grey).pieces)
    edges = (box.left, box.top, box.right, box.bottom)
    return all(abs(a - b) <= tolerance for a, b in zip(edges, CROSS_BOX, strict=True))


@pytest.mark.parametrize(("paper", "ink"), [(220, 40), (255, 0), (140, 90), (30, 200), (0, 255), (90, 150)])
def test_ink_is_found_dark_or_light(paper: int, ink: int) -> None:
    """The box is right, and so is whether the ink is darker than its paper."""
    page = draw_cross(paper, ink)
    assert is_cross(page)
    assert find_ink(page).inverted == (ink < paper)


def test_a_gradient_of_light_is_not_ink() -> None:
    """The paper is half as bright on one side as on the other."""
    gradient = np.linspace(1, 0.5, WIDTH)[None, :]
    assert is_cross((draw_cross() * gradient).astype(np.uint8))


@pytest.mark.parametrize("edge", [40, 100, 200, 290])
def test_the_edge_of_a_shadow_is_not_ink(edge: int) -> None:
    """A hard shadow covers part of the picture, including the writing."""
    page = draw_cross().astype(np.float32)
    page[:, edge:] *= 0.6
    assert is_cross(page.astype(np.uint8))


def test_the_corner_of_a_shadow_is_not_ink() -> None:
    """A small dark triangle in a corner is not a stroke, although it is as thin as one."""
    y, x = np.indices((HEIGHT, WIDTH))
    page = np.where(x + y < 60, draw_cross() * 0.5, draw_cross())
    assert is_cross(page.astype(np.uint8))


def test_grain_and_specks_are_not_ink() -> None:
    """The paper has noise with a standard deviation of six levels, and dark pixels away from the writing."""
    generator = np.random.default_rng(0)
    page = draw_cross() + generator.normal(0, 6, (HEIGHT, WIDTH))
    page[generator.random((HEIGHT, WIDTH)) < 0.001] = 40
    page[70:172, 70:172] = (draw_cross() + generator.normal(0, 6, (HEIGHT, WIDTH)))[70:172, 70:172]
    assert is_cross(page.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("level", [60, 150])
def test_ruled_lines_are_not_ink_pale_or_dark(level: int) -> None:
    """The lines go from side to side, one of them through the writing. The writing stays in one piece."""
    page = draw_cross()
    for row in range(20, HEIGHT, 40):
        page[row : row + 2] = np.minimum(page[row : row + 2], level)
    assert is_cross(page, tolerance=4)
    assert len(find_ink(page).pieces) == 1


def test_the_box_of_a_form_is_not_ink() -> None:
    """The writing is inside a printed frame that is just as dark."""
    page = draw_cross()
    cv2.rectangle(page, (50, 50), (190, 190), 40, 2)
    assert is_cross(page)


def test_a_lone_straight_stroke_is_kept() -> None:
    """A 1 as long and straight as a ruled line is ink if there is nothing else."""
    page = np.full((HEIGHT, WIDTH), 220, np.uint8)
    page[20:220, 150:156] = 40
    assert enclose_pieces(find_ink(page).pieces).height >= 198


def test_a_cut_out_has_soft_edges_and_nothing_of_its_neighbour() -> None:
    """One of two blurred bars is cut out, with a margin of paper."""
    page = np.full((HEIGHT, WIDTH), 220, np.float32)
    page[60:180, 100:112] = page[60:180, 124:136] = 40
    ink = find_ink(cv2.GaussianBlur(page, (0, 0), 2).astype(np.uint8))
    assert len(ink.pieces) == 2
    left = min(ink.pieces, key=lambda piece: piece.box.left)
    cut = ink.cut_out(left.box, ink.mask([left]))
    assert cut.strength.shape == (left.box.height + 2 * MARGIN_PX, left.box.width + 2 * MARGIN_PX)
    columns = cut.strength.max(axis=0)
    assert columns[0] == columns[-1] == 0
    assert 0 < columns[MARGIN_PX - 1] < columns.max()
    assert cut.stroke_width == pytest.approx(12, abs=3)


def test_a_picture_of_noise_has_a_bounded_number_of_pieces() -> None:
    """No picture causes more work afterwards than a page of writing."""
    noise = np.random.default_rng(0).integers(0, 2, (1500, 1500)).astype(np.uint8) * 255
    assert len(find_ink(noise).pieces) <= 200


@pytest.mark.parametrize("shape", [(1, 1), (1, 9999), (9999, 1), (41, 1), (3, 41), (2, 70_000), (40, 40)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_any_shape_works(shape: tuple[int, int], level: int) -> None:
    """Blank paper of any shape has no ink. A dot on it causes no error."""
    page = np.full(shape, level, np.uint8)
    assert not find_ink(page).pieces
    page[0, 0] = 255 - level
    find_ink(page)
