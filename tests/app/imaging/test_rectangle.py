"""Rectangles: enclosing, gaps, containment, clipping, scaling."""

from app.imaging.rectangle import Rectangle, enclose

LEFT, RIGHT = Rectangle(0, 0, 10, 20), Rectangle(14, 5, 20, 15)


def test_the_enclosing_rectangle_is_the_smallest_one() -> None:
    """It covers all rectangles and touches the outermost edges."""
    assert enclose([LEFT, RIGHT]) == Rectangle(0, 0, 20, 20)


def test_a_gap_is_measured_along_the_axis_where_the_two_are_further_apart() -> None:
    """It is symmetric, and 0 if the two overlap."""
    assert LEFT.gap(RIGHT) == RIGHT.gap(LEFT) == 4
    assert LEFT.gap(Rectangle(5, 5, 30, 30)) == 0
    assert LEFT.gap(Rectangle(12, 50, 20, 60)) == 30


def test_containment_is_strict() -> None:
    """A rectangle that shares an edge is not contained."""
    assert Rectangle(0, 0, 9, 9).contains(Rectangle(1, 1, 8, 8))
    assert not Rectangle(0, 0, 9, 9).contains(Rectangle(0, 1, 8, 8))
    assert not LEFT.contains(LEFT)


def test_size_and_position() -> None:
    """Sides, slices of the whole picture and of a part of it, scaling and clipping."""
    assert (RIGHT.width, RIGHT.height, RIGHT.longer_side) == (6, 10, 10)
    assert RIGHT.slices == (slice(5, 15), slice(14, 20))
    assert RIGHT.slices_in(Rectangle(10, 0, 30, 30)) == (slice(5, 15), slice(4, 10))
    assert RIGHT.scale(2.5) == Rectangle(35, 12, 50, 38)
    assert RIGHT.clip(18, 100) == Rectangle(14, 5, 18, 15)


def test_a_rectangle_turns_with_its_picture() -> None:
    """A box at the top left of 30x40 is at the top right after a quarter turn; four quarter turns change nothing."""
    box = Rectangle(2, 1, 12, 6)
    assert box.turn(1, 30, 40) == Rectangle(34, 2, 39, 12)
    assert box.turn(2, 30, 40) == Rectangle(18, 34, 28, 39)
    assert box.turn(1, 30, 40).turn(-1, 40, 30) == box.turn(4, 30, 40) == box
    assert Rectangle(2, 3, 5, 7).grow(2) == Rectangle(0, 1, 7, 9)
