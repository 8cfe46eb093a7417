"""Gathering pieces of ink in lines of writing."""

from app.imaging.pieces import Piece
from app.imaging.rectangle import Rectangle
from app.imaging.rows import group_into_rows


def make_pieces(*boxes: tuple[int, int, int, int]) -> list[Piece]:
    """Make pieces that fill half of these boxes (left, top, right, bottom)."""
    rectangles = [Rectangle(*box) for box in boxes]
    return [Piece(label, box, box.area // 2) for label, box in enumerate(rectangles, start=1)]


def test_a_small_piece_joins_the_line_that_it_is_close_to() -> None:
    """The bar of a 5 belongs to its line. A speck between the lines belongs to none."""
    digits = (0, 0, 30, 60), (50, 0, 80, 60), (0, 200, 30, 260)
    bar, speck = (82, 2, 100, 12), (150, 125, 162, 137)
    rows = group_into_rows(make_pieces(*digits, bar, speck))
    assert [[piece.label for piece in row] for row in rows] == [[1, 2, 4], [3]]


def test_the_fragments_of_a_torn_digit_are_a_digit() -> None:
    """Three strokes of a 3, each lower than half a digit and far from the next digit, are read on its line."""
    digits = (0, 0, 30, 60), (50, 0, 80, 60)
    torn = (140, 0, 165, 24), (150, 26, 170, 50), (140, 45, 160, 62)
    (row,) = group_into_rows(make_pieces(*digits, *torn))
    assert {piece.label for piece in row} == {1, 2, 3, 4, 5}


def test_a_dotted_line_is_no_digit() -> None:
    """Six dots above one another are left out, although together they are as high as a digit."""
    dots = [(140, 11 * i, 149, 11 * i + 10) for i in range(6)]
    rows = group_into_rows(make_pieces((0, 0, 30, 60), (50, 0, 80, 60), *dots))
    assert [[piece.label for piece in row] for row in rows] == [[1, 2]]


def test_digits_may_be_high_and_low_in_the_boxes_of_a_form() -> None:
    """Digits side by side are one line, although one is almost its height below the others."""
    digits = (0, 0, 30, 60), (80, 50, 110, 110), (160, 5, 190, 65), (240, 45, 270, 105)
    (row,) = group_into_rows(make_pieces(*digits))
    assert {piece.label for piece in row} == {1, 2, 3, 4}


def test_lines_that_are_close_together_stay_apart() -> None:
    """A digit below another one is on another line, however near the two lines are."""
    upper, lower = ((0, 0, 30, 40), (50, 0, 80, 40)), ((10, 42, 40, 82), (100, 40, 130, 80))
    rows = group_into_rows(make_pieces(*upper, *lower))
    assert [{piece.label for piece in row} for row in rows] == [{1, 2}, {3, 4}]
