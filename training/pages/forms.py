"""Scans of forms: digits in printed boxes, whose frames are darker than the ink."""

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from training.pages.camera import blur, choose_view, expose, look
from training.pages.page import SyntheticPage, save
from training.pages.paper import make_paper
from training.pages.pens import BALLPOINT, PENCIL
from training.pages.ruling import draw_lines, roughen
from training.pages.sheet import DIGIT, PRINT, Sheet
from training.pages.sources import Sources
from training.pages.writing import Hand

MARGIN = 14  # pixels around the picture, so that a turned scan shows no end of the sheet
MAX_TURN = 1.5  # degrees, of a sheet in a scanner


def make_form(sources: Sources, kind: str, generator: Generator) -> SyntheticPage:
    """Scan one box of a form (``box-cell``, about 200x165) or five in a row (``box-row``, about 1000x196), in grey."""
    count = 5 if kind == "box-row" else 1
    if count == 1:
        width, height = round(200 * generator.uniform(0.85, 1.15)), round(165 * generator.uniform(0.88, 1.12))
        cell_width, cell_height = width * generator.uniform(0.6, 0.8), height * generator.uniform(0.65, 0.85)
    else:
        width, height = round(1000 * generator.uniform(0.93, 1.07)), round(196 * generator.uniform(0.9, 1.1))
        cell_width, cell_height = width / 5 * generator.uniform(0.7, 0.95), height * generator.uniform(0.6, 0.85)
    paper = make_paper((height + 2 * MARGIN, width + 2 * MARGIN), generator).mean(axis=2, keepdims=True)
    brightness = generator.uniform(232, 255) / paper.mean()
    sheet = Sheet.of(np.repeat(paper * np.float32(brightness), 3, axis=2).astype(np.float32))
    left = MARGIN + (width - count * cell_width) / 2 + generator.normal(0, 0.02) * width
    top = MARGIN + (height - cell_height) / 2 + generator.normal(0, 0.02) * height
    thick, black = generator.uniform(1, 4), generator.uniform(0, 50)
    is_table = print_frames(sheet, count, (left, top), (cell_width, cell_height), thick, black, generator)

    hand = Hand.pick(sources, generator, (PENCIL, PENCIL, BALLPOINT))
    grey = generator.uniform(black + 15, 150) if hand.pen.name == "pencil" else generator.uniform(black + 5, 100)
    hand = replace(hand, colour=np.full(3, grey, np.float32))
    size = min(generator.uniform(60, 110), cell_height * generator.uniform(0.7, 1.0))
    spread = generator.uniform(0.03, 0.12)  # of the place in the box
    sheet.start_line()
    for index in range(count):
        label = int(generator.integers(10))
        ink = hand.write(label, size, generator)
        x = left + (index + 0.5 + generator.normal(0, spread)) * cell_width - ink.shape[1] / 2
        y = top + (0.5 + generator.normal(0, spread)) * cell_height - ink.shape[0] / 2
        y = float(np.clip(y, MARGIN + 5, MARGIN + height - ink.shape[0] - 5))
        sheet.write(ink, label, round(x), round(y), hand.colour)
        if is_table and generator.random() < 0.4:
            write_neighbour(sheet, hand, size, left + (index + 0.5) * cell_width, generator)

    view = choose_view(sheet, width, height, 1, MAX_TURN, 0, 0, generator)
    shot = look(sheet, view)
    pixels = expose(blur(shot.pixels, 0.9, generator), 4, generator, 0.95)
    grey_pixels = np.asarray(pixels).mean(axis=2).round().astype(np.uint8)
    return SyntheticPage.of(kind, sheet, shot, save(grey_pixels, (70, 95), 0.5, generator))


def print_frames(
    sheet: Sheet, count: int, corner: tuple[float, float], cell: tuple[float, float], thick: float, grey: float,
    generator: Generator,
) -> bool:  # fmt: skip
    """Print a row of boxes: part of a table, a row whose lines run past it, boxes apart from each other, or just these.

    Args:
        count: Boxes in the row.
        corner: Left and top of the first box, in pixels.
        cell: Width and height of a box, in pixels.
        thick: Of the lines, in pixels.
        grey: The brightness of the lines, 0 to 255.

    Returns:
        Whether there are boxes above and below.
    """
    style = str(generator.choice(["table", "row", "apart", "alone"], p=[0.45, 0.25, 0.15, 0.15]))
    (left, top), (wide, high) = corner, cell
    shape = sheet.shape
    columns = [left + index * wide for index in range(-1, count + 2)]
    rows = [top, top + high]
    lines = draw_lines(shape, rows, [], thick)
    posts = draw_lines(shape, [], columns, thick)
    above, below = round(top - thick / 2), round(top + high + thick / 2)
    if style == "table":
        lines = draw_lines(shape, [top - high, *rows, top + 2 * high], [], thick)
    else:
        posts[: max(above, 0)] = posts[below:] = 0
    if style == "alone":
        first, last = round(left - thick / 2), round(left + count * wide + thick / 2)
        for part in (lines, posts):
            part[:, : max(first, 0)] = part[:, last:] = 0
    elif style == "apart":
        gap = round(wide * generator.uniform(0.03, 0.08)) + 2
        for column in columns:
            start = round(column)
            lines[:, max(0, start - gap) : max(0, start + gap + 1)] = 0
        posts = draw_lines(shape, [], [at + side * gap for at in columns for side in (-1, 1)], thick)
        posts[: max(above, 0)] = posts[below:] = 0
    sheet.paint(roughen(np.maximum(lines, posts), generator), 0, 0, (grey, grey, grey), PRINT)
    return style == "table"


def write_neighbour(sheet: Sheet, hand: Hand, size: float, middle: float, generator: Generator) -> None:
    """Write a digit of the box above or below, of which only a bit shows at the edge of the picture."""
    ink = hand.write(int(generator.integers(10)), size, generator)
    shown = round(generator.uniform(2, 14))
    is_above = generator.random() < 0.5
    top = MARGIN + shown - ink.shape[0] if is_above else sheet.shape[0] - MARGIN - shown
    sheet.paint(ink, round(middle - ink.shape[1] / 2 + generator.normal(0, 8)), top, hand.colour, DIGIT)
