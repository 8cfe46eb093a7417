"""Dividing numbers into digits: lines, parts, and the path that the scores support."""

import math

import numpy as np
import pytest

from app.errors import CrowdedPictureError
from app.imaging.ink import find_ink
from app.imaging.rectangle import Rectangle
from app.imaging.segmentation import Candidate, Line, find_best_path, propose_line, propose_lines
from tests.support.pictures import Grey, make_combs

BLANK = np.zeros((28, 28), np.uint8)


def draw_bars(*places: tuple[int, int], height: int = 60, page: tuple[int, int] = (300, 400)) -> Grey:
    """Draw dark vertical bars, ten pixels wide, on light paper at these (left, top)."""
    grey = np.full(page, 220, np.uint8)
    for left, top in places:
        grey[top : top + height, left : left + 10] = 40
    return grey


def make_candidate(start: int, end: int, cost: float = 0.0, left: int | None = None, right: int = 0) -> Candidate:
    box = Rectangle(start, 0, end, 1) if left is None else Rectangle(left, 0, right, 100)
    return Candidate(start, end, box, BLANK, cost)


def test_lines_are_read_top_to_bottom_and_pieces_left_to_right() -> None:
    """In two lines of three and two bars, each bar is a candidate of its own line, in order."""
    lines = propose_lines(find_ink(draw_bars((200, 200), (50, 40), (250, 45), (150, 38), (90, 205)), "page"))
    alone = [[c.box.left for c in line.candidates if c.end == c.start + 1] for line in lines]
    assert len(alone) == 2
    assert [round(x / 50) for x in alone[0]] == [1, 3, 5]
    assert [round(x / 50) for x in alone[1]] == [2, 4]


def test_a_line_that_slopes_is_one_line() -> None:
    """Each bar is a fifth of its height lower than the one before it."""
    assert len(propose_lines(find_ink(draw_bars(*((30 + 60 * i, 20 + 12 * i) for i in range(6))), "page"))) == 1


def test_distant_parts_are_not_joined() -> None:
    """No candidate contains two bars that are more than a line height apart."""
    (line,) = propose_lines(find_ink(draw_bars((50, 100), (150, 100)), "page"))
    assert all(c.box.width < 50 for c in line.candidates)


def test_a_blank_page_has_no_lines() -> None:
    """Without ink there is nothing to propose."""
    assert propose_lines(find_ink(draw_bars(), "page")) == []


def test_the_best_path_is_the_cheapest_one() -> None:
    """One candidate for both parts, or one for each: scores and costs decide."""
    line = Line([math.inf, math.inf], [make_candidate(0, 1), make_candidate(1, 2), make_candidate(0, 2)])
    assert find_best_path(line, [(0.99, 0.99), (0.99, 0.99), (0.99, 0.1)]) == [0, 1]
    assert find_best_path(line, [(0.99, 0.2), (0.99, 0.2), (0.99, 0.99)]) == [2]
    costly = Line([math.inf, math.inf], [make_candidate(0, 1), make_candidate(1, 2, cost=20), make_candidate(0, 2)])
    assert find_best_path(costly, [(0.99, 0.99), (0.99, 0.99), (0.99, 0.1)]) == [2]


def test_dirt_is_skipped_if_reading_it_costs_more() -> None:
    """A part that may be skipped is skipped if its score is low, and read if its score is high."""
    line = Line([math.inf, 1.0], [make_candidate(0, 1), make_candidate(1, 2)])
    assert find_best_path(line, [(0.99, 0.99), (0.5, 0.01)]) == [0]
    assert find_best_path(line, [(0.99, 0.99), (1.0, 1.0)]) == [0, 1]


def test_a_line_without_any_path_reads_nothing() -> None:
    """A part that must be read and has no candidate gives an empty reading."""
    assert find_best_path(Line([math.inf], []), []) == []


def test_digits_that_overlap_are_read_as_one() -> None:
    """Two strokes of a 4 are not two digits, although each looks more like a 1 than both look like a 4."""
    strokes = [make_candidate(0, 1, left=10, right=90), make_candidate(1, 2, left=20, right=100)]
    line = Line([math.inf, math.inf], [*strokes, make_candidate(0, 2, left=10, right=100)])
    assert find_best_path(line, [(0.99, 0.99), (0.99, 0.99), (0.9, 0.8)]) == [2]
    apart = [make_candidate(0, 1, left=10, right=50), make_candidate(1, 2, left=50, right=100)]
    line = Line([math.inf, math.inf], [*apart, make_candidate(0, 2, left=10, right=100)])
    assert find_best_path(line, [(0.99, 0.99), (0.99, 0.99), (0.9, 0.8)]) == [0, 1]


def test_a_picture_that_is_full_of_ink_is_refused() -> None:
    """No number has so many candidates as a page of combs."""
    with pytest.raises(CrowdedPictureError, match="Send only the part"):
        propose_lines(find_ink(make_combs(), "page"))
    # One line of blots is refused, too, before all of its candidates are made.
    row = np.full((60, 1200), 220, np.uint8)
    for left in range(10, 1180, 18):
        row[20:30, left : left + 15] = 40
    with pytest.raises(CrowdedPictureError):
        propose_line(find_ink(row, "page"), find_ink(row, "page").pieces, max_effort=50)


def test_commas_points_and_minus_signs_may_be_skipped() -> None:
    """They cost less to skip than to read as a 1. A digit as high as the line must be read."""
    page = draw_bars((100, 100), (140, 100), (230, 100), (270, 100))
    page[150:176, 164:170] = 40  # a comma
    page[126:132, 60:88] = 40  # a minus sign
    page[150:160, 212:222] = 40  # a point
    (line,) = propose_lines(find_ink(page, "page"))
    assert [round(cost, 1) < 5 for cost in line.skip_costs] == [True, False, False, True, True, False, False]
    alone = {candidate.start: candidate for candidate in line.candidates if candidate.end == candidate.start + 1}
    for start, skip in enumerate(line.skip_costs):
        assert skip == math.inf or skip < alone[start].cost


def test_a_small_stroke_above_the_middle_is_no_comma() -> None:
    """The bar of a 5 beside its body costs no more than its gap, together with the body."""
    page = draw_bars((100, 100), (140, 100))
    page[104:122, 154:160] = 40
    (line,) = propose_lines(find_ink(page, "page"))
    assert len(line.skip_costs) == 3
    assert next(c.cost for c in line.candidates if (c.start, c.end) == (2, 3)) < 1.5
