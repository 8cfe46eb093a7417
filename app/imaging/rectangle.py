"""Rectangles of pixels."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rectangle:
    """A half-open rectangle of pixels: the column ``right`` and the row ``bottom`` are outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def longer_side(self) -> int:
        return max(self.width, self.height)

    @property
    def slices(self) -> tuple[slice, slice]:
        """The index that selects the rectangle in an array ``(H, W)``."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def slices_in(self, outer: "Rectangle") -> tuple[slice, slice]:
        """Return the index that selects the rectangle in an array that was itself selected by ``outer``."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )

    @property
    def area(self) -> int:
        return self.width * self.height

    def intersection(self, other: "Rectangle") -> int:
        """Return how many pixels the two have in common."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(across, 0) * max(down, 0)

    def contains(self, other: "Rectangle") -> bool:
        """Return whether the other rectangle is inside and touches no edge."""
        return (
            self.left < other.left and self.top < other.top and other.right < self.right and other.bottom < self.bottom
        )

    def gap(self, other: "Rectangle") -> int:
        """Return the pixels between the two along the axis where they are further apart, or 0 if they overlap."""
        across = max(self.left, other.left) - min(self.right, other.right)
        down = max(self.top, other.top) - min(self.bottom, other.bottom)
        return max(across, down, 0)

    def grow(self, margin: int) -> "Rectangle":
        """Return a rectangle that is ``margin`` larger on each side."""
        return Rectangle(self.left - margin, self.top - margin, self.right + margin, self.bottom + margin)

    def clip(self, width: int, height: int) -> "Rectangle":
        """Return the part that is inside a picture of this size."""
        return Rectangle(max(self.left, 0), max(self.top, 0), min(self.right, width), min(self.bottom, height))

    def turn(self, quarter_turns: int, width: int, height: int) -> "Rectangle":
        """Return where the rectangle is when its picture of this size is turned clockwise."""
        turned = self
        for _ in range(quarter_turns % 4):
            turned = Rectangle(height - turned.bottom, turned.left, height - turned.top, turned.right)
            width, height = height, width
        return turned

    def scale(self, factor: float) -> "Rectangle":
        """Return the same rectangle in a picture that is ``factor`` times as large."""
        return Rectangle(*(round(edge * factor) for edge in (self.left, self.top, self.right, self.bottom)))


def enclose(rectangles: Sequence[Rectangle]) -> Rectangle:
    """Return the smallest rectangle that covers all of these."""
    return Rectangle(
        min(rectangle.left for rectangle in rectangles),
        min(rectangle.top for rectangle in rectangles),
        max(rectangle.right for rectangle in rectangles),
        max(rectangle.bottom for rectangle in rectangles),
    )
