"""What stands beside digits: printed words, banners, written words and scrawls."""

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from app.imaging.rectangle import Rectangle
from training.pages.fonts import draw_text
from training.pages.pens import draw_strokes
from training.pages.sheet import OTHER_HANDWRITING, PRINT, Coverage, Sheet
from training.pages.skeleton import smooth
from training.pages.writing import Hand

WORDS = (
    "Total", "Name", "Date", "Amount", "Invoice", "Number", "Code", "Street", "Betrag", "Datum", "Summe", "Kunde",
    "Please write in capitals", "Signature", "Reference", "Meter reading", "Account", "Form A", "Page", "Order",
    "Ort, Datum", "Department", "Quantity", "Price", "Remarks", "Unterschrift", "Postcode", "Phone",
)  # fmt: skip
WRITTEN_WORDS = (
    "Anna", "Total", "hello", "Monday", "milk", "Peter", "kg", "CHF", "Euro", "room", "thanks", "Haus", "Tel", "Nr",
    "km", "week", "Karl", "call", "Tisch", "paid", "ABC", "new", "rent", "Max",
)  # fmt: skip
BANNER_COLOURS = ((30, 60, 120), (150, 30, 35), (40, 40, 45), (25, 100, 60), (230, 150, 40))


def print_words(sheet: Sheet, place: Rectangle, hand: Hand, generator: Generator) -> None:
    """Print a few words inside a place, at its left edge. Nothing is printed if no font is installed."""
    fonts = hand.sources.print_fonts
    if not fonts or place.height < 8 or place.width < 20:
        return
    font = fonts[int(generator.integers(len(fonts)))]
    words = " ".join(generator.choice(WORDS, int(generator.integers(1, 4))))
    size = min(place.height * generator.uniform(0.4, 0.95), place.width * 1.6 / len(words))
    grey = generator.uniform(10, 110)
    put_inside(sheet, draw_text(words, font, size), place, (grey, grey, grey), PRINT, generator)


def print_banner(sheet: Sheet, place: Rectangle, hand: Hand, generator: Generator) -> None:
    """Print a filled bar over a whole place, with white words on it."""
    bar = np.full((place.height, place.width), generator.uniform(0.8, 1), np.float32)
    fonts = hand.sources.print_fonts
    if fonts:
        font, size = fonts[int(generator.integers(len(fonts)))], place.height * generator.uniform(0.4, 0.8)
        text = draw_text(str(generator.choice(WORDS)), font, size)
        high, wide = min(text.shape[0], place.height), min(text.shape[1], place.width)
        top, left = (place.height - high) // 2, int((place.width - wide) * generator.uniform(0, 1))
        bar[top : top + high, left : left + wide] -= text[:high, :wide] * bar[0, 0]
    colour = BANNER_COLOURS[int(generator.integers(len(BANNER_COLOURS)))]
    sheet.paint(bar, place.left, place.top, colour, PRINT)


def write_words(sheet: Sheet, place: Rectangle, hand: Hand, generator: Generator) -> None:
    """Write a word by hand inside a place, in a script or as a scrawl, in the ink of the digits."""
    if place.height < 8 or place.width < 20:
        return
    fonts = hand.sources.script_fonts
    if fonts and generator.random() < 0.75:
        word = str(generator.choice(WRITTEN_WORDS))
        size = min(place.height * generator.uniform(0.6, 1), place.width * 1.8 / len(word))
        ink = draw_text(word, fonts[int(generator.integers(len(fonts)))], size) * np.float32(hand.pen.strengths[0])
    else:
        ink = scrawl(place.height * generator.uniform(0.4, 0.9), hand, generator)
    put_inside(sheet, ink, place, hand.colour, OTHER_HANDWRITING, generator)


def scrawl(height: float, hand: Hand, generator: Generator) -> Coverage:
    """Scrawl a word that nobody can read: loops of different heights along a line."""
    count = int(generator.integers(6, 16))
    along = np.arange(count * 12) / 12
    tall = np.repeat(generator.choice([0.2, 0.25, 0.5], count), 12)
    angle = 2 * np.pi * along * generator.uniform(0.8, 1)
    x = along * 0.22 + 0.12 * np.cos(angle)
    y = -tall * (1 + np.sin(angle))
    return draw_strokes([smooth(np.stack([x, y], axis=1), 2)], height, hand.pen, generator)


def put_inside(
    sheet: Sheet, ink: Coverage, place: Rectangle, colour: ArrayLike, kind: int, generator: Generator
) -> None:  # fmt: skip
    """Paint ink at a random position inside a place. What is too large for the place is cut."""
    ink = ink[: place.height, : place.width]
    left = place.left + int((place.width - ink.shape[1]) * generator.uniform(0, 1))
    top = place.top + int((place.height - ink.shape[0]) * generator.uniform(0, 1))
    sheet.paint(ink, left, top, colour, kind)
