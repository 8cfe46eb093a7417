"""Taking numbers apart: lines, pieces, seams, and the path that scores bear out."""

import math

import numpy as np
import pytest

from app.imaging.rectangle import Rectangle
from app.errors import CrowdedPictureError
from app.imaging.ink import find_ink
from app.imaging.segmentation import Candidate, Line, best_path, line_of, propose, seams
from tests.support.pictures import Grey

BLANK = np.zeros((28, 28), np.uint8)


def bars(*places: tuple[int, int], height: int = 60, page: tuple[int, int] = (300, 400)) -> Grey:
    """Dark upright bars of ten pixels on light paper, at these (left, top)."""
    grey = np.full(page, 220, np.uint8)
    for left, top in places:
        grey[top : top + height, left : left + 10] = 40
    return grey


def candidate(start: int, end: int, price: float = 0.0) -> Candidate:
    return Candidate(start, end, Rectangle(start, 0, end, 1), BLANK, price)


def test_lines_are_read_top_to_bottom_and_pieces_left_to_right() -> None:
    """Two lines of three and two bars: each bar is a candidate of its own line, in order."""
    lines = propose(find_ink(bars((200, 200), (50, 40), (250, 45), (150, 38), (90, 205))))
    alone = [[c.box.left for c in line.candidates if c.end == c.start + 1] for line in lines]
    assert len(alone) == 2
    assert [round(x / 50) for x in alone[0]] == [1, 3, 5]
    assert [round(x / 50) for x in alone[1]] == [2, 4]


def test_a_line_that_slopes_is_one_line() -> None:
    """Each bar a fifth of its height lower than the last: still one line."""
    assert len(propose(find_ink(bars(*((30 + 60 * i, 20 + 12 * i) for i in range(6)))))) == 1


def test_what_is_far_apart_is_not_joined() -> None:
    """No candidate reaches from one bar to another that is a height away."""
    (line,) = propose(find_ink(bars((50, 100), (150, 100))))
    assert all(c.box.width < 50 for c in line.candidates)


def test_a_blank_page_has_no_lines() -> None:
    assert propose(find_ink(bars())) == []


def test_a_seam_goes_between_two_strokes_that_touch() -> None:
    """Two thick bars with a thin bridge: the cheapest seam crosses the bridge and nothing else, and is priced by it."""
    core = np.zeros((60, 70), np.uint8)
    core[:, :20] = core[:, 50:] = 1
    core[28:31, 20:50] = 1
    ways = seams(core, 60)
    columns, price = min(ways, key=lambda way: way[1])
    assert columns.shape == (60,)
    assert ((columns >= 20) & (columns <= 50)).all()
    assert 0 < price < 0.5 * max(price for _, price in ways)


def test_a_seam_leans_where_the_strokes_do() -> None:
    """Between two slanting bars with no upright way between them there is a way without ink."""
    core = np.zeros((60, 90), np.uint8)
    for row in range(60):
        core[row, 40 - row // 2 : 52 - row // 2] = core[row, 60 - row // 2 : 72 - row // 2] = 1
    assert np.flatnonzero(core.any(axis=0)).size == 61  # there is no empty column between the two
    columns, _ = min(seams(core, 60), key=lambda way: core[np.arange(60), way[0].clip(0, 89)].sum())
    assert core[np.arange(60), columns.clip(0, 89)].sum() <= 2


def test_the_best_path_is_the_likeliest_whole() -> None:
    """One candidate over both parts against one for each: what the scores say, with prices counted."""
    line = Line([math.inf, math.inf], [candidate(0, 1), candidate(1, 2), candidate(0, 2)])
    assert best_path(line, [(0.99, 0.99), (0.99, 0.99), (0.99, 0.1)]) == [0, 1]
    assert best_path(line, [(0.99, 0.2), (0.99, 0.2), (0.99, 0.99)]) == [2]
    dear = Line([math.inf, math.inf], [candidate(0, 1), candidate(1, 2, price=20), candidate(0, 2)])
    assert best_path(dear, [(0.99, 0.99), (0.99, 0.99), (0.99, 0.1)]) == [2]


def test_dirt_is_passed_over_where_reading_it_is_dearer() -> None:
    """A part that may be skipped is skipped when nothing reads it, and read when something does."""
    line = Line([math.inf, 1.0], [candidate(0, 1), candidate(1, 2)])
    assert best_path(line, [(0.99, 0.99), (0.5, 0.01)]) == [0]
    assert best_path(line, [(0.99, 0.99), (1.0, 1.0)]) == [0, 1]


def test_a_line_without_a_way_through_reads_nothing() -> None:
    assert best_path(Line([math.inf], []), []) == []


def test_a_picture_that_is_full_of_ink_is_refused() -> None:
    """Its candidates would be without end, and nobody's number is so."""
    generator = np.random.default_rng(0)
    page = np.full((1200, 1200), 220, np.uint8)
    for top in range(20, 1140, 80):
        for left in range(10, 1150, 60):
            page[top : top + 60, left : left + 50][generator.random((60, 50)) < 0.6] = 40
    with pytest.raises(CrowdedPictureError, match="send the part"):
        propose(find_ink(page))
    # So is one line of blots, before all that it may be is looked at.
    row = np.full((60, 1200), 220, np.uint8)
    for left in range(10, 1180, 18):
        row[20:30, left : left + 15] = 40
    with pytest.raises(CrowdedPictureError):
        line_of(find_ink(row), find_ink(row).pieces, room=100)
