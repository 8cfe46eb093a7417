"""Photographs of pages: lines of digits on plain, ruled, squared or printed paper, on a desk, or on a blackboard."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from app.imaging.rectangle import Rectangle
from training.pages.camera import Shot, blur, choose_view, expose, look
from training.pages.desk import lay_finger, make_desk, punch_spiral
from training.pages.light import make_light
from training.pages.page import SyntheticPage, save
from training.pages.paper import Pixels, make_paper
from training.pages.pens import CHALK, PAPER_PENS
from training.pages.printing import print_banner, print_words, write_words
from training.pages.rulings import rule
from training.pages.sheet import Sheet
from training.pages.sources import Sources
from training.pages.texture import make_noise
from training.pages.writing import Hand

SIZES = ((640, 480), (800, 600), (1280, 960), (1600, 1200), (2048, 1536), (4000, 3000))  # pixels
SIZE_SHARES = (0.22, 0.12, 0.34, 0.18, 0.12, 0.02)
SMALLEST, LARGEST = 12, 600  # pixels, the height of digits
LINE_SHARES = (0.5, 0.25, 0.15, 0.1)  # of one to four lines
MAX_LENGTH = 8  # digits of a line
AROUND = 0.12  # of the picture's sides, by which the sheet is larger on each side
BOARDS = ((35, 60, 48), (30, 32, 34), (55, 70, 62), (45, 50, 60))
CHALKS = ((235, 235, 228), (235, 235, 228), (240, 225, 130), (240, 180, 170))


@dataclass(frozen=True)
class Layout:
    """What is written on a page, and how large."""

    labels: list[list[int]]  # the digits of each line
    size: float  # pixels, the height of a tall digit
    step: float  # pixels from one line to the next


def make_photograph(sources: Sources, kind: str, generator: Generator) -> SyntheticPage:
    """Photograph a page of one to four lines of digits."""
    width, height = SIZES[int(generator.choice(len(SIZES), p=SIZE_SHARES))]
    if generator.random() < 0.4:
        width, height = height, width
    is_desk, is_board = kind == "desk", kind == "blackboard"
    scale = generator.uniform(0.55, 0.85) if is_desk else 1 + 2 * AROUND
    shape = (round(height * scale), round(width * scale))
    sheet = Sheet.of(make_board(shape, generator) if is_board else make_paper(shape, generator))
    hand = Hand.pick(sources, generator, (CHALK,) if is_board else PAPER_PENS)
    if is_board:
        hand = replace(hand, colour=np.array(CHALKS[int(generator.integers(len(CHALKS)))], np.float32))
    fill_sheet(sheet, kind, hand, generator)

    turn = min(8.0, abs(generator.normal(0, 4)))
    around = make_desk((height, width), generator) if is_desk else None
    shot = look(sheet, choose_view(sheet, width, height, 1, turn, 0.05, 0.1 if is_desk else 0.02, generator), around)
    if is_desk and generator.random() < 0.3:
        shot = add_finger(shot, generator)
    smallest = min(box.longer_side for line in shot.boxes for box in line)
    return SyntheticPage.of(kind, sheet, shot, photograph(shot.pixels, smallest, generator))


def fill_sheet(sheet: Sheet, kind: str, hand: Hand, generator: Generator) -> None:
    """Put everything on a sheet that a kind of page has: printed lines, words, and lines of digits."""
    tall, wide = sheet.shape
    # The part to write on: most of a sheet on a desk, otherwise what the picture is sure to show.
    margin = 0.1 if kind == "desk" else AROUND + 0.1
    area = Rectangle(round(wide * margin), round(tall * margin), round(wide * (1 - margin)), round(tall * (1 - margin)))
    layout = choose_layout(area, generator)
    block = hand.fill(layout.labels, layout.size, layout.step, area.width, generator)
    left = area.left + round(max(0, area.width - block.width) * generator.uniform(0, 1))
    top = area.top + round(max(0, area.height - block.height) * generator.uniform(0, 1))
    place = Rectangle(left, top, left + block.width, top + block.height)
    if kind in {"ruled", "squared"} or (kind == "desk" and generator.random() < 0.4):
        rule(sheet, kind, place, block.size, layout.step, generator)
    if kind == "desk" and generator.random() < 0.3:
        punch_spiral(sheet, generator)
    if kind == "print":
        surround(sheet, place, area, block.size, hand, generator)
    block.put_on(sheet, left, top)


def choose_layout(area: Rectangle, generator: Generator) -> Layout:
    """Choose lines of digits, and a size at which they are likely to fit into an area."""
    count = int(generator.choice(len(LINE_SHARES), p=LINE_SHARES)) + 1
    labels = [generator.integers(10, size=int(generator.integers(1, MAX_LENGTH + 1))).tolist() for _ in range(count)]
    apart = generator.uniform(1.4, 2.2)  # sizes
    largest = min(LARGEST, area.height / ((count - 1) * apart + 1.15), area.width / (0.8 * max(map(len, labels))))
    smallest = max(SMALLEST, min(area.width, area.height) / 50)
    # Most people write large, or come close.
    share = generator.beta(1.7, 1.0)
    size = float(smallest * (max(largest, smallest + 1) / smallest) ** share)
    return Layout(labels, size, apart * size)


def make_board(shape: tuple[int, int], generator: Generator) -> Pixels:
    """Make a blackboard ``(H, W, 3)`` on which chalk was wiped."""
    board = np.array(BOARDS[int(generator.integers(len(BOARDS)))], np.float32)
    cloud = make_noise(shape, max(shape) / 8, generator) + 0.5 * make_noise(shape, max(shape) / 60, generator, 6)
    dust = (0.06 + 0.05 * cloud).clip(0, 0.4) * np.float32(generator.uniform(0.2, 1.6))
    dust += np.float32(0.015) * make_noise(shape, 1, generator)
    pixels: Pixels = board + dust[..., None] * (220 - board)
    return pixels.astype(np.float32)


def surround(sheet: Sheet, block: Rectangle, area: Rectangle, size: float, hand: Hand, generator: Generator) -> None:
    """Put words and banners around the digits of a page: in strips above and below, and beside the lines."""
    gap = round(size * 0.4) + 4
    strip = round(max(16, size * generator.uniform(0.4, 1.3)))
    strips = [
        Rectangle(area.left, y, area.right, y + strip)
        for y in [
            *range(block.top - gap - strip, 0, -strip - gap),
            *range(block.bottom + gap, area.bottom, strip + gap),
        ]
    ]
    beside = [
        Rectangle(area.left, block.top, block.left - gap, min(block.bottom, block.top + 2 * strip)),
        Rectangle(block.right + gap, block.top, area.right, min(block.bottom, block.top + 2 * strip)),
    ]
    banner = int(generator.integers(len(strips))) if strips and generator.random() < 0.4 else None
    for index, place in enumerate(strips[:12]):
        if index == banner:
            print_banner(sheet, place, hand, generator)
        elif generator.random() < 0.35:
            print_words(sheet, place, hand, generator)
        elif generator.random() < 0.2:
            write_words(sheet, place, hand, generator)
    for place in beside:
        if generator.random() < 0.5:
            (print_words if generator.random() < 0.6 else write_words)(sheet, place, hand, generator)


def add_finger(shot: Shot, generator: Generator) -> Shot:
    """Lay a finger over the edge of a picture, unless it would hide a digit."""
    pixels, is_finger = lay_finger(shot.pixels, generator)
    if any(is_finger[box.slices].any() for line in shot.boxes for box in line):
        return shot
    return Shot(pixels, np.where(is_finger, 0, shot.classes).astype(np.uint8), shot.boxes)


def photograph(pixels: Pixels, size: float, generator: Generator) -> bytes:
    """Light, blur, expose and compress a picture. Small digits are blurred less, so that they stay readable."""
    lit = pixels * make_light(pixels.shape[:2], generator)[..., None]
    exposed = expose(blur(lit, min(2.5, 0.35 + size / 45), generator), 10, generator)
    return save(exposed, (40, 95), 0, generator)
