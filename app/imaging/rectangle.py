"""Rectangles of pixels. Knows nothing of what is in them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rectangle:
    """A rectangle of pixels, half open: ``right`` and ``bottom`` are the first that are outside."""

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
    def size(self) -> int:
        return max(self.width, self.height)

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def holds(self, other: "Rectangle") -> bool:
        return (
            self.left < other.left and self.top < other.top and other.right < self.right and other.bottom < self.bottom
        )

    def within(self, outer: "Rectangle") -> tuple[slice, slice]:
        """Where this box is in pixels cut out by another that holds it."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )

    def gap(self, other: "Rectangle") -> int:
        """Pixels between the two, along the axis where they are further apart; 0 where they overlap."""
        across = max(self.left, other.left) - min(self.right, other.right)
        down = max(self.top, other.top) - min(self.bottom, other.bottom)
        return max(across, down, 0)

    def within_size(self, width: int, height: int) -> "Rectangle":
        """What of it is inside a picture of this size."""
        return Rectangle(max(self.left, 0), max(self.top, 0), min(self.right, width), min(self.bottom, height))

    def scaled(self, factor: float) -> "Rectangle":
        """The same in pixels of which there are ``factor`` to one of these."""
        return Rectangle(*(round(edge * factor) for edge in (self.left, self.top, self.right, self.bottom)))


def joined(boxes: Sequence[Rectangle]) -> Rectangle:
    """The box that holds them all."""
    return Rectangle(
        min(box.left for box in boxes),
        min(box.top for box in boxes),
        max(box.right for box in boxes),
        max(box.bottom for box in boxes),
    )
