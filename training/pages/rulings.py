"""Puts printed lines on a page so that they fit what is written on it: rules, squares, frames and tables."""

import numpy as np
from numpy.random import Generator

from app.imaging.rectangle import Rectangle
from training.pages.ruling import draw_frame, draw_lines, pick_colour, roughen
from training.pages.sheet import PRINT, Coverage, Sheet


def rule(sheet: Sheet, kind: str, block: Rectangle, size: float, step: float, generator: Generator) -> None:
    """Rule a page under a block of lines.

    Args:
        kind: ``squared`` for squares or a grid of dots; otherwise lines, dotted lines, a frame or a table.
        block: Where the digits are.
        size: Pixels of the height of a tall digit.
        step: Pixels from one line of digits to the next.
    """
    width = min(max(0.6, size * generator.uniform(0.008, 0.035)), 8)
    if kind == "squared":
        ink = rule_squares(sheet.shape, block, size, width, generator)
    else:
        style = str(generator.choice(["lines", "dotted", "frame", "table"], p=[0.45, 0.15, 0.15, 0.25]))
        if style == "frame":
            ink = frame_block(sheet.shape, block, size, width, generator)
        elif style == "table":
            ink = rule_table(sheet.shape, block, size, step, width, generator)
        else:
            dash = max(2.0, size * generator.uniform(0.03, 0.1)) if style == "dotted" else 0.0
            # Every line of digits, or every second one, stands on a line.
            apart = step / int(generator.integers(1, 3))
            first = block.top + size * (1 + generator.normal(0.03, 0.05))
            ink = draw_lines(sheet.shape, spread(first, apart, sheet.shape[0]), [], width, dash)
            if generator.random() < 0.3:  # the margin of an exercise book
                ink = np.maximum(ink, draw_lines(sheet.shape, [], [max(3.0, block.left - size * 0.6)], width))
    sheet.paint(roughen(ink, generator), 0, 0, pick_colour(generator), PRINT, generator.uniform(0.3, 1))


def rule_squares(
    shape: tuple[int, int], block: Rectangle, size: float, width: float, generator: Generator
) -> Coverage:  # fmt: skip
    """Draw squares of a quarter of to a little more than the height of a digit, or dots at their corners."""
    apart = max(5.0, size * generator.uniform(0.25, 1.2))
    rows = spread(block.top + size * generator.normal(1.03, 0.1), apart, shape[0])
    columns = spread(block.left + generator.uniform(0, apart), apart, shape[1])
    if generator.random() < 0.8:
        return draw_lines(shape, rows, columns, min(width, apart / 8))
    dot = max(1.2, width * 1.5)
    return draw_lines(shape, rows, [], dot) * draw_lines(shape, [], columns, dot)


def rule_table(
    shape: tuple[int, int], block: Rectangle, size: float, step: float, width: float, generator: Generator
) -> Coverage:  # fmt: skip
    """Draw a table whose lines run close under and beside the digits, and touch some."""
    below = block.top + size * generator.normal(1.04, 0.05)
    rows = spread(below, step if block.height > 1.3 * size else size * generator.uniform(1.1, 1.6), shape[0])
    wide = block.width + size * generator.uniform(0.1, 1.2)
    columns = spread(block.left - size * generator.uniform(0.02, 0.4), wide, shape[1])
    return draw_lines(shape, rows, columns, width)


def frame_block(
    shape: tuple[int, int], block: Rectangle, size: float, width: float, generator: Generator
) -> Coverage:  # fmt: skip
    """Draw a frame, mostly with rounded corners, closely around a block."""
    gap = round(size * generator.uniform(0.02, 0.5) + width)
    radius = size * generator.uniform(0.1, 0.6) if generator.random() < 0.7 else 0.0
    frame = draw_frame(block.width + 2 * gap, block.height + 2 * gap, radius, max(1.0, width * 1.5))
    ink = Sheet.of(np.zeros((*shape, 3), np.float32))
    ink.paint(frame, block.left - gap, block.top - gap, (1, 1, 1), PRINT)
    return ink.pixels[..., 0]


def spread(at: float, apart: float, end: int) -> list[float]:
    """Return positions from 0 to ``end`` that are ``apart`` pixels apart, one of them at ``at``."""
    return [float(position) for position in np.arange(at % apart, end, apart)]
