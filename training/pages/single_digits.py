"""Pictures of one digit: on paper, on a screen, cut from a scan, or tiny and faint."""

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from app.imaging.encode import to_png
from training.pages.camera import Shot, View, blur, choose_view, expose, look
from training.pages.light import make_light
from training.pages.page import SyntheticPage, save
from training.pages.paper import Pixels, make_paper
from training.pages.pens import BALLPOINT, FELT, MARKER, PAPER_PENS, Pen
from training.pages.scans import find_ink
from training.pages.sheet import DIGIT, VISIBLE, Sheet
from training.pages.sources import Sources
from training.pages.writing import Hand

FINE_PEN = Pen("fine pen", (0.03, 0.05), (0.8, 1.0), 0.12, 0.0, 0.0, 0.0)
BALLPOINT_COLOURS = ((75, 105, 225), (60, 80, 190), (90, 90, 95), (40, 40, 50))


def write_one(sheet: Sheet, hand: Hand, size: float, generator: Generator) -> None:
    """Write a random digit at a random place of a sheet, at most as large as the sheet less a margin."""
    height, width = sheet.shape
    block = hand.fill([[int(generator.integers(10))]], min(size, height * 0.9), 0, width * 0.92, generator)
    digit = block.lines[0][0]
    ink = digit.ink[: height - 2, : width - 2]
    left = 1 + round((width - ink.shape[1] - 2) * float(generator.beta(3, 3)))
    top = 1 + round((height - ink.shape[0] - 2) * float(generator.beta(3, 3)))
    sheet.start_line()
    sheet.write(ink, digit.label, left, top, hand.colour)


def see_all(sheet: Sheet) -> Shot:
    """See a sheet as it is."""
    height, width = sheet.shape
    return look(sheet, View(np.eye(3), width, height))


def make_single(sources: Sources, kind: str, generator: Generator) -> SyntheticPage:
    """Show one digit of 0.3 to 0.95 of the picture's height, dark on light or light on dark."""
    height = round(float(np.exp(generator.uniform(np.log(60), np.log(900)))))
    width = round(height * generator.uniform(0.75, 1.4))
    size = height * generator.uniform(0.3, 0.95)
    if generator.random() < 0.4:
        return draw_on_screen(sources, kind, (height, width), size, generator)
    sheet = Sheet.of(make_paper((height, width), generator))
    hand = Hand.pick(sources, generator, PAPER_PENS)
    if generator.random() < 0.25:  # white pencil on dark paper
        sheet.pixels *= np.float32(generator.uniform(0.1, 0.3))
        hand = replace(hand, colour=generator.uniform(190, 250, 3).astype(np.float32))
    write_one(sheet, hand, size, generator)
    shot = look(sheet, choose_view(sheet, width, height, 1, 8, 0.03, 0, generator))
    lit: Pixels = shot.pixels * make_light((height, width), generator)[..., None]
    exposed = expose(blur(lit, min(2.5, 0.35 + size / 60), generator), 8, generator)
    return SyntheticPage.of(kind, sheet, shot, save(exposed, (50, 95), 0.2, generator))


def draw_on_screen(
    sources: Sources, kind: str, shape: tuple[int, int], size: float, generator: Generator
) -> SyntheticPage:
    """Draw a digit with a mouse or a finger on an even ground."""
    ground, ink = generator.uniform(225, 255, 3), generator.uniform(0, 110, 3)
    if generator.random() < 0.5:
        ground, ink = generator.uniform(0, 40, 3), generator.uniform(150, 255, 3)
    if generator.random() < 0.5:  # without colour
        ground, ink = np.full(3, ground.mean()), np.full(3, ink.mean())
    sheet = Sheet.of(np.broadcast_to(ground, (*shape, 3)).astype(np.float32))
    hand = Hand.pick(sources, generator, (MARKER, FELT))
    pen = replace(hand.pen, strengths=(1.0, 1.0), pressure=0, swelling=0, grain=0)
    write_one(sheet, replace(hand, pen=pen, colour=ink.astype(np.float32)), size, generator)
    shot = see_all(sheet)
    pixels = shot.pixels.round().clip(0, 255).astype(np.uint8)
    return SyntheticPage.of(kind, sheet, shot, save(pixels, (60, 95), 0.7, generator))


def make_scan(sources: Sources, kind: str, generator: Generator) -> SyntheticPage:
    """Show a digit as it is cut from a scan of about 95x95: a real one of the Swiss scans, or simulated ballpoint."""
    if sources.scans and generator.random() < 0.6:
        pictures = sources.scans[str(generator.choice(sorted(sources.scans)))]
        label = int(generator.choice(sorted(pictures)))
        picture = pictures[label][int(generator.integers(len(pictures[label])))]
        sheet = Sheet.of(picture.astype(np.float32))
        ink = find_ink(picture)
        sheet.start_line()
        sheet.write(ink, label, 0, 0, picture[ink > VISIBLE].mean(axis=0))
        return SyntheticPage.of(kind, sheet, see_all(sheet), to_png(picture, compress_level=1))
    height, width = generator.integers(88, 104), generator.integers(82, 102)
    sheet = Sheet.of(np.full((height, width, 3), generator.uniform(249, 255), np.float32))
    hand = Hand.pick(sources, generator, (BALLPOINT,))
    colour = np.array(BALLPOINT_COLOURS[int(generator.integers(len(BALLPOINT_COLOURS)))], np.float32)
    pen = replace(hand.pen, grain=0.25, pressure=0.15)
    write_one(sheet, replace(hand, pen=pen, colour=colour), generator.uniform(38, 78), generator)
    shot = see_all(sheet)
    pixels = blur(shot.pixels, 0.7, generator) + generator.normal(0, 1.2, shot.pixels.shape)
    return SyntheticPage.of(kind, sheet, shot, to_png(pixels.round().clip(0, 255).astype(np.uint8), compress_level=1))


def make_faint(sources: Sources, kind: str, generator: Generator) -> SyntheticPage:
    """Show a digit in 28x28 to 40x40 pixels, in strokes of one pixel whose peak is 100 to 200 levels."""
    side = 28 if generator.random() < 0.5 else int(generator.integers(28, 41))
    sheet = Sheet.of(np.zeros((side, side, 3), np.float32))
    hand = Hand.pick(sources, generator, (FINE_PEN,))
    write_one(sheet, replace(hand, colour=np.full(3, 255, np.float32)), side * generator.uniform(0.6, 0.8), generator)
    grey = sheet.pixels[..., 0]
    grey = grey / max(grey.max(), 1) * generator.uniform(100, 200)
    sheet.classes[:] = np.where(grey > VISIBLE * grey.max(), DIGIT, 0)
    grey = (grey + generator.normal(0, generator.uniform(0, 3), grey.shape)).round().clip(0, 255).astype(np.uint8)
    return SyntheticPage.of(
        kind, sheet, see_all(sheet), to_png(255 - grey if generator.random() < 0.4 else grey, compress_level=1)
    )  # fmt: skip
