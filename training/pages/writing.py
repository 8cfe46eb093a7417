"""A hand: one person with one pen, who writes digits and blocks of lines."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.pages.pens import PAPER_PENS, Pen, crop, draw_strokes
from training.pages.scans import find_ink
from training.pages.shapes import sketch_digit
from training.pages.sheet import Coverage, Sheet
from training.pages.skeleton import ENLARGEMENT, MNIST_HEIGHT, Stroke, enlarge, trace_strokes
from training.pages.sources import Sources

LARGEST_SCAN = 160  # pixels; a scanned digit that is enlarged further looks blurred
MAX_SLANT, MAX_TURN = 0.2, 6  # of a hand: shift per height, and degrees
INKS = ((25, 25, 30), (30, 45, 130), (20, 30, 90), (45, 45, 50), (150, 25, 35), (20, 95, 60))  # red, green, blue
INK_SHARES = (0.35, 0.3, 0.15, 0.1, 0.06, 0.04)
THICKEST_STROKE = 0.22  # heights of a digit; thicker strokes of MNIST lose their shape in thinning
MOST_SWELLING = 1.5  # times the mean width of the stroke; what is thicker is a filled loop
LOOPS = {0: 1, 6: 1, 8: 2, 9: 1}  # of the digits that have some
GRAPHITE = (70, 70, 75)


@dataclass(frozen=True)
class PlacedDigit:
    """A digit, and where it is in its block."""

    ink: Coverage
    label: int
    left: int  # pixels
    top: int  # pixels


@dataclass(frozen=True)
class Block:
    """Lines of digits, and where they are from the block's upper left corner."""

    lines: list[list[PlacedDigit]]
    size: float  # pixels, the height of a tall digit
    colour: NDArray[np.float32]  # red, green, blue

    @property
    def width(self) -> int:
        return max(digit.left + int(digit.ink.shape[1]) for line in self.lines for digit in line)

    @property
    def height(self) -> int:
        return max(digit.top + int(digit.ink.shape[0]) for line in self.lines for digit in line)

    def put_on(self, sheet: Sheet, left: int, top: int) -> None:
        """Write the lines on a sheet, with the corner at (left, top)."""
        for line in self.lines:
            sheet.start_line()
            for digit in line:
                sheet.write(digit.ink, digit.label, left + digit.left, top + digit.top, self.colour)


@dataclass(frozen=True)
class Hand:
    """One person with one pen."""

    sources: Sources
    pen: Pen
    colour: NDArray[np.float32]  # of the ink: red, green, blue
    slant: float  # to the right, per height
    origin: str  # of the shapes: "mnist", "sketch", or a writer of the scans

    @classmethod
    def pick(cls, sources: Sources, generator: Generator, pens: Sequence[Pen] = PAPER_PENS) -> "Hand":
        """Pick a person and a pen at random."""
        pen = pens[int(generator.integers(len(pens)))].draw_out(generator)
        tint = GRAPHITE if pen.name == "pencil" else INKS[int(generator.choice(len(INKS), p=INK_SHARES))]
        colour = (np.array(tint) * generator.uniform(0.7, 1.2) + generator.uniform(-8, 8, 3)).clip(0, 255)
        origins = ["sketch"] * 3 + ["mnist"] * 5 * bool(len(sources.labels))
        # A scan has the ink of a ballpoint.
        if sources.scans and pen.name in {"ballpoint", "pencil"}:
            origins += list(generator.choice(sorted(sources.scans), 6))
        origin = str(origins[int(generator.integers(len(origins)))])
        return cls(sources, pen, colour.astype(np.float32), generator.normal(0, MAX_SLANT / 2), origin)

    def write(self, label: int, size: float, generator: Generator) -> Coverage:
        """Write a digit, and crop it to its ink.

        Args:
            size: Pixels of the height of a tall digit.
        """
        size *= generator.uniform(0.9, 1.08)
        if self.origin in self.sources.scans and size <= LARGEST_SCAN:
            pictures = self.sources.scans[self.origin].get(label)
            if pictures:
                ink = crop(find_ink(pictures[int(generator.integers(len(pictures)))]))
                return scale_ink(ink, size / max(ink.shape[0], 0.8 * ink.shape[1]), self.pen.strengths[0])
        return draw_strokes(self.bend(self.find_strokes(label, generator), generator), size, self.pen, generator)

    def find_strokes(self, label: int, generator: Generator) -> list[Stroke]:
        """Find the strokes of a digit, in heights of a digit."""
        if self.origin == "mnist":
            digits = self.sources.digits[self.sources.labels == label]
            for _ in range(5):
                digit = digits[int(generator.integers(len(digits)))]
                strokes = trace_strokes(digit)
                if explains(strokes, digit, label):
                    return strokes
        return sketch_digit(label, generator)

    def bend(self, strokes: Sequence[Stroke], generator: Generator) -> list[Stroke]:
        """Slant and turn strokes as this hand does, with some variation."""
        slant = self.slant + generator.normal(0, 0.03)
        angle = np.deg2rad(generator.uniform(-MAX_TURN, MAX_TURN))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn @ np.array([[1.0, -slant], [0.0, 1.0]])
        return [stroke @ matrix.T for stroke in strokes]

    def write_block(self, labels: Sequence[Sequence[int]], size: float, step: float, generator: Generator) -> Block:
        """Write lines of digits.

        Args:
            labels: The digits of each line.
            size: Pixels of the height of a tall digit.
            step: Pixels from one line to the next.
        """
        gap, slope = generator.uniform(0.08, 0.4), generator.normal(0, 0.01)
        lines = []
        for row, line in enumerate(labels):
            x, written = max(0.0, generator.normal(0, 0.15) * size), []
            for label in line:
                ink = self.write(label, size, generator)
                y = row * step + size + slope * x + generator.normal(0, 0.03) * size
                written.append(PlacedDigit(ink, label, round(x), round(y) - ink.shape[0]))
                x += ink.shape[1] + max(1.5, size * max(0.05, generator.normal(gap, 0.08)))
            lines.append(written)
        return Block(lines, size, self.colour)

    def fill(
        self, labels: Sequence[Sequence[int]], size: float, step: float, width: float, generator: Generator
    ) -> Block:
        """Write lines of digits, smaller than ``size`` if they would be wider than ``width`` pixels."""
        block = self.write_block(labels, size, step, generator)
        for _ in range(5):
            if block.width <= width:
                break
            size *= 0.95 * width / block.width
            block = self.write_block(labels, size, step, generator)
        return block


def explains(strokes: Sequence[Stroke], digit: NDArray[np.uint8], label: int) -> bool:
    """Return whether an even pen along these strokes gives a digit of MNIST back.

    It does not if a loop is filled with ink, because thinning makes a line of it. Loops that the writer left open are
    refused too: at another width of the pen, one cannot tell which digit they are.
    """
    ink = enlarge(digit)
    loops = cv2.connectedComponents((~ink).astype(np.uint8), connectivity=4)[0] - 2
    if loops < LOOPS.get(label, 0):
        return False
    unit = MNIST_HEIGHT * ENLARGEMENT
    length = sum(float(np.hypot(*np.diff(stroke, axis=0).T).sum()) for stroke in strokes) * unit
    width = ink.sum() / max(length, 1)
    thickest = 2 * cv2.distanceTransform(ink.astype(np.uint8), cv2.DIST_L2, 3).max()
    return bool(width < THICKEST_STROKE * unit and thickest < MOST_SWELLING * width)


def scale_ink(ink: Coverage, scale: float, strength: float) -> Coverage:
    """Resize scanned ink, and give it the strength of a pen."""
    size = (max(1, round(ink.shape[1] * scale)), max(1, round(ink.shape[0] * scale)))
    resized = cv2.resize(ink, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return crop((resized * (0.25 + 0.75 * strength)).clip(0, 1).astype(np.float32))
