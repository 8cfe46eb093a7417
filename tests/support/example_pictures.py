"""Draws the pictures of the documents and their recipes, so that none of them is from a data set.

python -m tests.support.example_pictures
"""

from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tests.support.drawn_digits import AMERICAN, HANDS, USUAL_HEIGHT, Hand, draw_digit, place_paths
from tests.support.running import ROOT

EXAMPLES = ROOT / "docs" / "examples"
FONT = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
SHIFT = 4  # bits of a coordinate after the point
INK = (40, 50, 120)  # red, green, blue: a blue pen
# The same places as in docs/examples/form.py and docs/examples/meters.py, in pixels.
BOX = 56
FIELDS = {"customer": (200, 90, "40718"), "date": (200, 180, "261125"), "reading": (200, 270, "03625")}
DISPLAY = (170, 150, 470, 230)  # left, top, right, bottom
Page = NDArray[np.uint8]  # (H, W, 3)


def write(page: Page, digit: int, hand: Hand, centre: tuple[float, float], height: float, pen: int) -> None:
    """Write a digit on a page."""
    paths = place_paths(digit, hand, 1 / USUAL_HEIGHT, (0, 0))  # one unit high
    lines = [np.rint((path * height + centre) * 2**SHIFT).astype(np.int32) for path in paths]
    cv2.polylines(page, lines, isClosed=False, color=INK, thickness=pen, lineType=cv2.LINE_AA, shift=SHIFT)


def photograph(page: Page, generator: np.random.Generator, shadow: float = 0.25, blur: float = 0.8) -> Image.Image:
    """Take a picture of a page with a phone: blur, uneven light, and grain."""
    light = np.linspace(1, 1 - shadow, page.shape[1])[None, :, None]
    soft = np.asarray(Image.fromarray(page).filter(ImageFilter.GaussianBlur(blur)), np.float64)
    return Image.fromarray((soft * light + generator.normal(0, 3, page.shape)).clip(0, 255).astype(np.uint8))


def draw_number(generator: np.random.Generator) -> Image.Image:
    """Draw 513912 on squared paper, half of it in shadow."""
    page = np.full((346, 602, 3), (236, 232, 222), np.uint8)
    page[::28] = page[:, ::28] = (190, 205, 215)
    for place, digit in enumerate((5, 1, 3, 9, 1, 2)):
        write(page, digit, AMERICAN, (100 + 80 * place, 165 + generator.uniform(-8, 8)), 88, 7)
    page[:, 330:] = page[:, 330:] * 0.72
    return photograph(page, generator)


def draw_form() -> Image.Image:
    """Draw a form with a row of boxes for each field, and fill it in, each field in another hand."""
    image = Image.new("RGB", (600, 360), "white")
    pen = ImageDraw.Draw(image)
    pen.text((40, 30), "Meter reading", "black", ImageFont.truetype(FONT, 28))
    for name, (left, top, text) in FIELDS.items():
        pen.text((40, top + BOX / 2), name, "black", ImageFont.truetype(FONT, 22), anchor="lm")
        for place in range(len(text)):
            pen.rectangle((left + place * BOX, top, left + place * BOX + BOX, top + BOX), outline="grey", width=2)
    page = np.array(image)
    for (left, top, text), hand in zip(FIELDS.values(), HANDS, strict=True):
        for place, digit in enumerate(text):
            write(page, int(digit), hand, (left + place * BOX + BOX / 2, top + BOX / 2), 0.6 * BOX, 4)
    x, y = left + place * BOX, top  # the last digit is crossed out
    for line in (16, 28, 40):
        cv2.line(page, (x + 8, y + line + 4), (x + BOX - 8, y + line - 4), INK, 4, cv2.LINE_AA)
    return Image.fromarray(page)


def draw_meter(
    reading: str, generator: np.random.Generator, between: float = 0.0, shadow: float = 0.3, blur: float = 1.0
) -> Image.Image:
    """Draw a meter with five wheels. ``between`` says how far the last wheel has turned to its next digit."""
    left, top, right, bottom = DISPLAY
    image = Image.new("RGB", (640, 400), (176, 178, 174))
    pen = ImageDraw.Draw(image)
    pen.ellipse((80, -60, 560, 460), (205, 206, 202), (110, 110, 108), 4)
    pen.text((320, 280), "kWh", (60, 60, 60), ImageFont.truetype(FONT, 26), anchor="mm")
    display = Image.new("RGB", (right - left, bottom - top), (24, 24, 26))
    wheels = ImageDraw.Draw(display)
    width, height = (right - left) / len(reading), bottom - top
    for place, digit in enumerate(reading):
        turned = between if place == len(reading) - 1 else 0.0
        for step in (0, 1):
            middle = (width * (place + 0.5), height * (0.5 + step - turned))
            shown = str((int(digit) + step) % 10)
            wheels.text(middle, shown, (232, 232, 226), ImageFont.truetype(FONT, 56), anchor="mm")
    image.paste(display, (left, top))
    return photograph(np.array(image), generator, shadow, blur)


def main() -> None:
    generator = np.random.default_rng(1)
    draw_number(generator).save(ROOT / "docs" / "images" / "number.jpg", quality=85)
    draw_form().save(EXAMPLES / "form.png", optimize=True)
    for folder in ("digits", "meters"):
        (EXAMPLES / folder).mkdir(exist_ok=True)
    for digit in range(10):
        picture = draw_digit(digit, HANDS[digit % len(HANDS)])
        Image.fromarray(picture).save(EXAMPLES / "digits" / f"{digit}.png", optimize=True)
    for name, meter in {
        "attic": draw_meter("04718", generator),
        "cellar": draw_meter("36925", generator, shadow=0.5),
        "garage": draw_meter("00682", generator, between=0.45),
        "kitchen": draw_meter("20361", generator, blur=9),
        "shop": draw_meter("58240", generator, shadow=0.1),
    }.items():
        meter.save(EXAMPLES / "meters" / f"{name}.jpg", quality=80)


if __name__ == "__main__":
    main()
