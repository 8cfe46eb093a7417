"""A picture, its ink, and everything in it that may be a digit."""

from dataclasses import dataclass

from app.imaging.decode import OpenedImage, Picture
from app.imaging.digit_image import Grey
from app.imaging.ink import Ink, find_ink
from app.imaging.rectangle import Rectangle
from app.imaging.segmentation import Line, propose_lines

MAX_TURNED_EFFORT = 500  # of a page that is turned: enough for 40 digits, and three attempts stay cheap


@dataclass(frozen=True, repr=False)  # arrays are long
class Page:
    """A picture, its ink, and everything in it that may be a digit, if the picture is turned first."""

    picture: Picture
    quarter_turns: int  # clockwise
    ink: Ink  # of the turned picture
    lines: list[Line]

    @property
    def candidates(self) -> list[Grey]:
        """The digit images ``(28, 28)`` to score before the digits can be selected."""
        return [candidate.pixels for line in self.lines for candidate in line.candidates]

    def to_full_size(self, box: Rectangle) -> Rectangle:
        """Convert a box in the turned ink into a box in the picture as it was sent."""
        height, width = self.ink.labels.shape
        return self.picture.to_full_size(box.turn(-self.quarter_turns, width, height).scale(1 / self.ink.scale))


def open_page(image: OpenedImage) -> Page:
    """Decode an image and find everything in it that may be a digit.

    Raises:
        RequestError: It cannot be decoded, or it shows too much.
    """
    picture = image.decode()
    ink = find_ink(picture.pixels, "page")
    return Page(picture, 0, ink, propose_lines(ink))


def turn_page(page: Page, quarter_turns: int) -> Page:
    """Return what may be a digit if an upright page is turned clockwise.

    Raises:
        CrowdedPictureError: It shows too much.
    """
    ink = page.ink.turn(quarter_turns)
    return Page(page.picture, quarter_turns, ink, propose_lines(ink, MAX_TURNED_EFFORT))
