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
