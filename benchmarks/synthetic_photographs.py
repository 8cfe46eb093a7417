"""Synthetic photographs of handwriting on paper: what people send, with known labels.

A MNIST digit becomes ink on paper. Paper and ink have a colour; the paper may be ruled or squared; the light is uneven
and may have the edge of a shadow; the lens blurs, the sensor adds grain, JPEG compresses, and the phone is held in any
of its four orientations. All randomness comes from one generator, so a seed reproduces the pictures. This module knows
nothing about the service.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.uint8]  # (28, 28), a MNIST digit
Coverage = NDArray[np.float32]  # (H, W) in [0, 1]: how much of each pixel is ink

ORIENTATION_TAG = 0x0112  # of EXIF
QUARTER_TURNS = {
    1: 0,
    8: 3,
    3: 2,
    6: 1,
}  # EXIF orientation -> anticlockwise turns from the upright to the stored picture
MAX_SIDE = 1_600  # pixels, the longer side of a picture


@dataclass(frozen=True)
class Photo:
    """A picture and its label."""

    data: bytes  # a JPEG file
    text: str  # the digits on it, left to right
    size: float  # pixels, the height of a full-height digit


def draw_digit(digit: Grey, size: float, generator: Generator) -> Coverage:
    """Redraw a digit with a pen at ``size`` pixels per 20 of MNIST, and crop it to its ink.

    The digit is enlarged smoothly and then thresholded, so that the edge of the stroke is sharp at any size. The level
    decides how thick the stroke is. It is relative to the digit's own ink, because thin strokes would break otherwise.
    The digit is also slanted and rotated by up to ten degrees.
    """
    scale = size / 20
    side = int(np.ceil(28 * scale * 1.3))
    angle, slant = np.deg2rad(generator.uniform(-10, 10, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    turn = turn @ np.array([[1.0, np.tan(slant)], [0.0, 1.0]])
    shift = np.full(2, side / 2) - turn @ np.full(2, 13.5)
    interpolation = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    large = cv2.warpAffine(digit.astype(np.float32), np.c_[turn, shift], (side, side), flags=interpolation)
    level, softness = generator.uniform(0.35, 0.6) * np.percentile(digit[digit > 0], 75), 128 / max(scale, 1) + 16
    ink = ((large - level) / softness + 0.5).clip(0, 1).astype(np.float32)
    rows, columns = np.flatnonzero(ink.max(axis=1) > 0.1), np.flatnonzero(ink.max(axis=0) > 0.1)
    if not len(rows):
        return np.ones((1, 1), np.float32)
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def lay_in_row(
    inks: Sequence[Coverage], size: float, touching: int | None, generator: Generator
) -> tuple[Coverage, list[tuple[int, int]]]:
    """Lay digits in a row on a shaky baseline, with gaps of an eighth to half of their height.

    Args:
        touching: Index of the digit that runs into the next one.

    Returns:
        The row, and the first and last column of each digit.
    """
    height = int(size * 1.6) + 2
    row = np.zeros((height, int(sum(ink.shape[1] for ink in inks) + size * len(inks)) + 2), np.float32)
    x, ends = 0, []
    for index, ink in enumerate(inks):
        tall, wide = ink.shape
        top = int(np.clip(height / 2 - tall / 2 + generator.normal(0, 0.04) * size, 0, height - tall))
        if index and touching == index - 1:
            while x > 0 and not (row[top : top + tall, x : x + wide] * ink > 0.25).any():
                x -= 1
        elif index:
            x += int(generator.uniform(0.12, 0.5) * size)
        area = row[top : top + tall, x : x + wide]
        np.maximum(area, ink, out=area)
        ends.append((x, x + wide))
        x += wide
    return row[:, :x], ends


def draw_form_boxes(row: Coverage, ends: Sequence[tuple[int, int]], size: float, generator: Generator) -> Coverage:
    """Print the boxes of a form around the digits at these columns."""
    thick = max(1, round(size * generator.uniform(0.015, 0.04)))
    margin = thick + max(1, round(size * generator.uniform(0.08, 0.2)))
    row = np.pad(row, margin)
    filled = np.flatnonzero(row.max(axis=1) > 0.1)
    top, bottom = filled[0] - margin, filled[-1] + margin
    middles = [(a[1] + b[0]) // 2 + margin for a, b in pairwise(ends)]
    form = np.zeros_like(row)
    for column in [0, *middles, row.shape[1] - thick]:
        form[max(0, top) : bottom, column : column + thick] = 1
    for line in (max(0, top), bottom - thick):
        form[line : line + thick] = 1
    return np.maximum(row, form * generator.uniform(0.5, 0.9))


def draw_ruling(shape: tuple[int, int], size: float, generator: Generator) -> Coverage:
    """Draw the slightly rotated lines of ruled or squared paper, or nothing."""
    kind = generator.choice(["plain", "ruled", "squared"], p=[0.5, 0.25, 0.25])
    lines = np.zeros(shape, np.float32)
    if kind == "plain":
        return lines
    apart, angle = size * generator.uniform(0.5, 1.6), np.deg2rad(generator.uniform(-3, 3))
    thick = max(1.0, size * generator.uniform(0.01, 0.03))
    y, x = np.indices(shape, np.float32)
    for across in (y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)):
        away = np.abs((across + generator.uniform(0, apart)) % apart - apart / 2)
        lines = np.maximum(lines, (thick / 2 + 0.5 - away).clip(0, 1))
        if kind == "ruled":
            break
    return lines


def make_light(shape: tuple[int, int], generator: Generator) -> Coverage:
    """Compute the light on each pixel: a gradient in some direction, and the edge of a shadow in a third of them."""
    height, width = shape
    y, x = np.indices(shape, np.float32)
    y, x = (y / height - 0.5).astype(np.float32), (x / width - 0.5).astype(np.float32)
    direction = generator.uniform(0, 2 * np.pi)
    level: NDArray[np.floating] = 1 - generator.uniform(0, 0.4) * (x * np.cos(direction) + y * np.sin(direction) + 0.5)
    if generator.random() < 0.35:
        direction, soft = generator.uniform(0, 2 * np.pi), generator.uniform(0.005, 0.1)
        away = x * np.cos(direction) + y * np.sin(direction) - generator.uniform(-0.3, 0.3)
        level *= 1 - generator.uniform(0.1, 0.45) / (1 + np.exp(-away / soft))
    return level.astype(np.float32)


def take_photograph(ink: Coverage, size: float, generator: Generator) -> bytes:
    """Put ink somewhere on a sheet of paper, and photograph it."""
    tall, wide = ink.shape
    max_scale = MAX_SIDE / max(tall, wide)
    height = int(np.ceil(tall * min(max_scale, generator.uniform(1.3, 4)))) + 4
    width = int(np.ceil(wide * min(max_scale, generator.uniform(1.3, 4)))) + 4
    top, left = generator.integers(2, height - tall - 1), generator.integers(2, width - wide - 1)
    paper = generator.uniform(170, 250) * generator.uniform(0.9, 1, 3)  # red, green, blue
    colour = generator.uniform(10, 90, 3)
    if generator.random() < 0.1:  # chalk on a board
        paper, colour = colour, paper
    page: NDArray[np.floating] = np.broadcast_to(paper, (height, width, 3)).astype(np.float32)
    lines = draw_ruling((height, width), size, generator)[..., None]
    page = page + lines * generator.uniform(0.15, 0.5) * (colour - page) * generator.uniform(0.6, 1, 3)
    cover = np.zeros((height, width, 1), np.float32)
    cover[top : top + tall, left : left + wide, 0] = ink * generator.uniform(0.75, 1)
    page = page + cover * (colour - page)
    page = (page * make_light((height, width), generator)[..., None]).astype(np.float32)
    page = cv2.GaussianBlur(page, (0, 0), max(0.2, generator.uniform(0, size / 40)))
    page += generator.normal(0, generator.uniform(0.5, 7), page.shape)
    return save_as_phone(page.round().clip(0, 255).astype(np.uint8), generator)


def save_as_phone(page: NDArray[np.uint8], generator: Generator) -> bytes:
    """Save a page as a phone does: in any orientation, which EXIF records."""
    orientation = int(generator.choice(list(QUARTER_TURNS)))
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    file = io.BytesIO()
    Image.fromarray(np.rot90(page, QUARTER_TURNS[orientation])).save(
        file, "JPEG", quality=int(generator.integers(50, 96)), exif=exif
    )
    return file.getvalue()


def make_photo(
    digits: Sequence[tuple[Grey, int]],
    generator: Generator,
    touching: bool = False,
    boxed: bool = False,
    sizes: tuple[float, float] = (20, 300),
) -> Photo:
    """Write digits in a row on paper, and photograph it.

    Args:
        touching: A random digit runs into the next one.
        boxed: Each digit is in the box of a printed form.
        sizes: The smallest and largest height of a digit, in pixels.
    """
    size = float(np.exp(generator.uniform(*np.log(sizes))))
    inks = [
        draw_digit(digit, size * generator.uniform(0.9, 1.1) if len(digits) > 1 else size, generator)
        for digit, _ in digits
    ]
    pair = int(generator.integers(len(digits) - 1)) if touching else None
    ink, ends = lay_in_row(inks, size, pair, generator) if len(digits) > 1 else (inks[0], [(0, inks[0].shape[1])])
    if boxed:
        ink = draw_form_boxes(ink, ends, size, generator)
    return Photo(take_photograph(ink, size, generator), "".join(str(label) for _, label in digits), size)
