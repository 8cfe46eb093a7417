"""Rectangles: joined, told apart, scaled."""

from app.imaging.rectangle import Rectangle, joined

LEFT, RIGHT = Rectangle(0, 0, 10, 20), Rectangle(14, 5, 20, 15)


def test_the_box_of_several_holds_each() -> None:
    """The smallest that does."""
    assert joined([LEFT, RIGHT]) == Rectangle(0, 0, 20, 20)


def test_the_gap_is_along_the_axis_where_they_are_further_apart() -> None:
    """And 0 where they overlap, whichever way round they are asked."""
    assert LEFT.gap(RIGHT) == RIGHT.gap(LEFT) == 4
    assert LEFT.gap(Rectangle(5, 5, 30, 30)) == 0
    assert LEFT.gap(Rectangle(12, 50, 20, 60)) == 30


def test_holding_is_strict() -> None:
    """A box with an edge in common is not inside."""
    assert Rectangle(0, 0, 9, 9).holds(Rectangle(1, 1, 8, 8))
    assert not Rectangle(0, 0, 9, 9).holds(Rectangle(0, 1, 8, 8))
    assert not LEFT.holds(LEFT)


def test_size_and_place() -> None:
    """The longer side is the size; slices cut it out; within tells where it lies in a larger one."""
    assert (RIGHT.width, RIGHT.height, RIGHT.size) == (6, 10, 10)
    assert RIGHT.slices == (slice(5, 15), slice(14, 20))
    assert RIGHT.within(Rectangle(10, 0, 30, 30)) == (slice(5, 15), slice(4, 10))
    assert RIGHT.scaled(2.5) == Rectangle(35, 12, 50, 38)
    assert RIGHT.within_size(18, 100) == Rectangle(14, 5, 18, 15)
