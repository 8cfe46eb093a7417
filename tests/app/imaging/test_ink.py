"""Finding ink: on any paper, in any light, beside printed lines and specks."""

import cv2
import numpy as np
import pytest

from app.imaging.ink import MARGIN_PX, find_ink
from app.imaging.paper import Shows
from app.imaging.pieces import enclose_pieces, find_pieces
from app.imaging.printed_lines import select_long_or_framing
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
    box = enclose_pieces(find_ink(grey, "digit").pieces)
    edges = (box.left, box.top, box.right, box.bottom)
    return all(abs(a - b) <= tolerance for a, b in zip(edges, CROSS_BOX, strict=True))


@pytest.mark.parametrize(("paper", "ink"), [(220, 40), (255, 0), (140, 90), (30, 200), (0, 255), (90, 150)])
def test_ink_is_found_dark_or_light(paper: int, ink: int) -> None:
    """The box is right, and so is whether the ink is darker than its paper."""
    page = draw_cross(paper, ink)
    assert is_cross(page)
    assert find_ink(page, "digit").inverted == (ink < paper)


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
    assert len(find_ink(page, "digit").pieces) == 1


def test_the_box_of_a_form_is_not_ink() -> None:
    """The writing is inside a printed frame that is just as dark."""
    page = draw_cross()
    cv2.rectangle(page, (50, 50), (190, 190), 40, 2)
    assert is_cross(page)


def test_a_frame_with_gaps_in_it_is_not_ink() -> None:
    """Its lower line is in two fragments: shadow or JPEG hid the rest. Without them, nothing holds the other lines."""
    page = draw_cross()
    cv2.rectangle(page, (50, 50), (190, 190), 40, 2)
    page[187:194, [*range(53, 58), *range(118, 123), *range(183, 188)]] = page[0, 0]
    assert is_cross(page)


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
@pytest.mark.parametrize("cut_off_at", [6, 40])
def test_a_box_that_the_edge_of_the_picture_cuts_off_is_not_ink(quarter_turns: int, cut_off_at: int) -> None:
    """What is left of it looks like a bracket, at any edge. It encloses nothing."""
    page = draw_cross()[:, :240]
    cv2.rectangle(page, (cut_off_at - 100, 60), (cut_off_at, 180), 40, 2)
    turned = np.ascontiguousarray(np.rot90(page, quarter_turns))
    assert is_cross(turned)  # the cross is in the middle of the square page


def test_a_1_with_a_foot_at_the_edge_is_ink() -> None:
    """It has a straight stroke and an arm, but its flag slopes."""
    page = np.full((HEIGHT, WIDTH), 220, np.uint8)
    cv2.polylines(page, [np.array([(4, 100), (40, 60), (40, 180)])], False, 40, 3)
    cv2.line(page, (4, 180), (70, 180), 40, 3)
    assert enclose_pieces(find_ink(page, "digit").pieces).height >= 118


def test_a_frame_that_the_digit_touches_is_not_ink() -> None:
    """They are one piece, so the frame encloses no other. Its lines go, and the digit stays."""
    page = draw_cross()
    cv2.rectangle(page, (50, 50), (190, 162), 40, 2)
    cv2.line(page, (120, 155), (120, 162), 40, 10)
    assert is_cross(page, tolerance=5)


@pytest.mark.parametrize("level", [40, 60])
def test_boxes_may_be_small(level: int) -> None:
    """A line of one pixel is a line, although it is only 26 pixels long, slopes and is a little out of focus."""
    page = np.full((100, 240), 220, np.uint8)
    for number in range(5):
        left, top = 30 + 30 * number, 30 + number // 2
        cv2.rectangle(page, (left, top), (left + 30, top + 26), level, 1)
        cv2.circle(page, (left + 15, top + 13), 7, 40, 2)
    pieces = find_ink(cv2.GaussianBlur(page, (0, 0), 0.5), "page").pieces
    assert [12 <= piece.box.height <= 20 for piece in pieces] == [True] * 5


def test_a_ruled_line_through_a_thick_stroke_takes_nothing_of_it() -> None:
    """The line and the bar of the 7 are one piece. Its mean stroke is as wide as the bar, which lies along the line."""
    page = np.full((HEIGHT, WIDTH), 220, np.uint8)
    seven = [np.array([(120, 130), (130, 108), (180, 114), (140, 190)])]
    cv2.polylines(page, seven, False, 40, 18)
    alone = find_ink(page, "digit")
    cv2.line(page, (0, 112), (WIDTH, 112), 90, 3)
    ink = find_ink(page, "digit")
    assert (alone.pieces[0].area - sum(piece.area for piece in ink.pieces)) / alone.pieces[0].area < 0.05
    assert len(ink.pieces) == 1


def test_a_lone_straight_stroke_is_kept() -> None:
    """A 1 as long and straight as a ruled line is ink if there is nothing else."""
    page = np.full((HEIGHT, WIDTH), 220, np.uint8)
    page[20:220, 150:156] = 40
    assert enclose_pieces(find_ink(page, "digit").pieces).height >= 198


@pytest.mark.parametrize("pencil", [150, 185])
def test_pencil_in_a_black_frame_is_ink(pencil: int) -> None:
    """The lines of the frame run on to the edges of the picture. None of their crossings is left."""
    page = draw_cross(255, pencil)
    page[[20, 21, 22, 200, 201, 202]] = 0
    page[:, [30, 31, 32, 280, 281, 282]] = 0
    assert is_cross(page)
    assert len(find_ink(page, "digit").pieces) == 1


def test_a_stroke_may_become_fainter() -> None:
    """The middle of a stroke is at a third of the contrast of its ends. It stays one piece."""
    page = draw_cross(220, 40)
    page[90:115, 115:125] = 160
    assert is_cross(page)
    assert len(find_ink(page, "digit").pieces) == 1


def draw_faint_arc(second: bool) -> Grey:
    """Draw a stroke on a page whose arc has a quarter of its strength, and perhaps a stroke where it ends."""
    page = np.full((480, 640), 220, np.uint8)
    cv2.line(page, (100, 40), (100, 200), 20, 10)  # another digit
    cv2.line(page, (300, 60), (300, 200), 20, 10)
    cv2.ellipse(page, (300, 100), (80, 40), 0, -90, 90, 165, 6)
    if second:
        cv2.line(page, (380, 60), (380, 200), 20, 10)
    return page


def test_on_a_page_a_stroke_may_become_very_faint() -> None:
    """The arc of a digit belongs to it, although another digit could not be joined by such faint ink."""
    boxes = [piece.box for piece in find_ink(draw_faint_arc(second=False), "page").pieces]
    assert sorted(abs(box.width - width) <= 3 for box, width in zip(boxes, (11, 88), strict=True)) == [True, True]


def test_very_faint_ink_does_not_join_two_digits() -> None:
    """The same arc ends at a second stroke: the two stay apart."""
    boxes = [piece.box for piece in find_ink(draw_faint_arc(second=True), "page").pieces]
    assert len(boxes) == 3
    assert all(box.width <= 14 for box in boxes)


@pytest.mark.parametrize(("paper", "ink"), [(220, 60), (60, 200)])
def test_a_stroke_along_the_edge_is_ink(paper: int, ink: int) -> None:
    """The bar of a large 7 lies along the edge of the picture."""
    page = np.full((HEIGHT, WIDTH), paper, np.uint8)
    page[:16, 60:200] = ink
    cv2.line(page, (192, 8), (120, 200), ink, 16)
    assert enclose_pieces(find_ink(page, "digit").pieces).top == 0


def test_a_large_4_at_the_edge_is_no_printed_line() -> None:
    """Its bar starts at the left edge, its stem ends at the bottom edge, and both are straight."""
    page = np.full((HEIGHT, WIDTH), 255, np.uint8)
    for start, end in (((60, 20), (4, 150)), ((4, 150), (180, 150)), ((120, 80), (120, HEIGHT))):
        cv2.line(page, start, end, 0, 10)
    box = enclose_pieces(find_ink(page, "digit").pieces)
    assert box.width > 170
    assert box.height > 210


@pytest.mark.parametrize("shows", ["digit", "page"])
def test_a_bright_centre_is_not_ink(shows: Shows) -> None:
    """The light falls off to a third towards the corners; thin dark ink counts for more."""
    y, x = np.indices((HEIGHT, WIDTH))
    light = 1 - 0.66 * ((x / WIDTH - 0.5) ** 2 + (y / HEIGHT - 0.5) ** 2) / 0.5
    page = np.full((HEIGHT, WIDTH), 200, np.float32)
    page[100:140, 158:161] = page[100:103, 140:160] = 90
    ink = find_ink((page * light).astype(np.uint8), shows)
    assert ink.inverted
    assert enclose_pieces(ink.pieces).height <= 44


@pytest.mark.parametrize("desk", [40, 120, 250])
def test_the_desk_around_a_page_is_not_ink(desk: int) -> None:
    """A sheet lies on a darker or lighter desk. Only what is written on the sheet is ink."""
    page = np.full((480, 640), desk, np.float32)
    page[60:430, 90:560] = 190
    page[200:240, 300:304] = page[200:204, 280:300] = 60
    box = enclose_pieces(find_ink(page.astype(np.uint8), "page").pieces)
    assert abs(box.left - 280) <= 2
    assert abs(box.bottom - 240) <= 2


def test_a_cut_out_has_soft_edges_and_nothing_of_its_neighbour() -> None:
    """One of two blurred bars is cut out, with a margin of paper."""
    page = np.full((HEIGHT, WIDTH), 220, np.float32)
    page[60:180, 100:112] = page[60:180, 124:136] = 40
    ink = find_ink(cv2.GaussianBlur(page, (0, 0), 2).astype(np.uint8), "digit")
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
    assert len(find_ink(noise, "digit").pieces) <= 200


@pytest.mark.parametrize("shape", [(1, 1), (1, 9999), (9999, 1), (41, 1), (3, 41), (2, 70_000), (40, 40)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_any_shape_works(shape: tuple[int, int], level: int) -> None:
    """Blank paper of any shape has no ink. A dot on it causes no error."""
    page = np.full(shape, level, np.uint8)
    assert not find_ink(page, "digit").pieces
    page[0, 0] = 255 - level
    find_ink(page, "digit")


def test_of_frames_within_frames_only_the_largest_are_examined() -> None:
    """A hundred of them would take seconds. Their boxes together have at most twice the picture's area."""
    page = np.zeros((400, 400), np.uint8)
    for margin in range(0, 200, 4):
        cv2.rectangle(page, (margin, margin), (399 - margin, 399 - margin), 1, 1)
    labels, pieces = find_pieces(page)
    selected = select_long_or_framing(labels, pieces)
    largest = sorted(pieces, key=lambda piece: -piece.box.area)
    assert 0 < len(selected) < len(pieces)
    assert selected == largest[: len(selected)]
    assert sum(piece.box.area for piece in selected) <= 2 * page.size
