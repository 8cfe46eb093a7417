"""Pictures of handwriting on paper, made by code: what people send, with the truth known.

A digit of MNIST becomes ink on paper: paper and ink of a colour, lines or squares on the paper, uneven light, the edge
of a shadow, a lens, grain, JPEG, and a phone that was held in any of its four ways. Everything is drawn from one
generator, so that a seed gives the same pictures. Knows nothing of the service.
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

Grey = NDArray[np.uint8]  # (28, 28), a digit as MNIST has it
Coverage = NDArray[np.float32]  # (H, W) in [0, 1]: how much of each pixel is ink

ORIENTATION = 0x0112  # the EXIF tag
HELD = {1: 0, 8: 3, 3: 2, 6: 1}  # EXIF orientation -> quarter turns, anticlockwise, from upright to as stored
LARGEST = 1_600  # pixels, the longer side of a picture


@dataclass(frozen=True)
class Photo:
    """A picture and the truth about it."""

    data: bytes  # of a JPEG or PNG file
    text: str  # the digits on it, left to right
    size: float  # pixels, the height of a digit of full height


def pen(digit: Grey, size: float, generator: Generator) -> Coverage:
    """Draw a digit anew with a pen, ``size`` pixels to the 20 that MNIST fits digits into, cut to its ink.

    Enlarged softly and then cut at a level, so that the stroke's edge is sharp at any size; the level decides how
    thick the stroke is, and is a share of the digit's own ink, or thin strokes would break. Slanted and turned by up to
    ten degrees.
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


def beside(
    inks: Sequence[Coverage], size: float, touching: int | None, generator: Generator
) -> tuple[Coverage, list[tuple[int, int]]]:
    """Lay digits in a row on a shaky baseline, with gaps of an eighth to half of their height.

    ``touching`` is the index of the digit that runs into the next one. The columns of each are told, too.
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


def boxes(row: Coverage, ends: Sequence[tuple[int, int]], size: float, generator: Generator) -> Coverage:
    """Print the boxes of a form around digits that stand at these columns."""
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


def ruling(shape: tuple[int, int], size: float, generator: Generator) -> Coverage:
    """The lines of ruled or squared paper, or none, a little turned."""
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


def light(shape: tuple[int, int], generator: Generator) -> Coverage:
    """How much light falls on each pixel: a slope in some direction, and in a third of the pictures a shadow's edge."""
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


def photograph(ink: Coverage, size: float, generator: Generator) -> bytes:
    """Lay ink somewhere on a sheet of paper, and take a picture of it."""
    tall, wide = ink.shape
    most = LARGEST / max(tall, wide)
    height = int(np.ceil(tall * min(most, generator.uniform(1.3, 4)))) + 4
    width = int(np.ceil(wide * min(most, generator.uniform(1.3, 4)))) + 4
    top, left = generator.integers(2, height - tall - 1), generator.integers(2, width - wide - 1)
    paper = generator.uniform(170, 250) * generator.uniform(0.9, 1, 3)  # red, green, blue
    colour = generator.uniform(10, 90, 3)
    if generator.random() < 0.1:  # chalk on a board
        paper, colour = colour, paper
    page: NDArray[np.floating] = np.broadcast_to(paper, (height, width, 3)).astype(np.float32)
    lines = ruling((height, width), size, generator)[..., None]
    page = page + lines * generator.uniform(0.15, 0.5) * (colour - page) * generator.uniform(0.6, 1, 3)
    cover = np.zeros((height, width, 1), np.float32)
    cover[top : top + tall, left : left + wide, 0] = ink * generator.uniform(0.75, 1)
    page = page + cover * (colour - page)
    page = (page * light((height, width), generator)[..., None]).astype(np.float32)
    page = cv2.GaussianBlur(page, (0, 0), max(0.2, generator.uniform(0, size / 40)))
    page += generator.normal(0, generator.uniform(0.5, 7), page.shape)
    return saved(page.round().clip(0, 255).astype(np.uint8), generator)


def saved(page: NDArray[np.uint8], generator: Generator) -> bytes:
    """Save a page as a phone does: in any orientation, as EXIF tells."""
    orientation = int(generator.choice(list(HELD)))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    Image.fromarray(np.rot90(page, HELD[orientation])).save(
        file, "JPEG", quality=int(generator.integers(50, 96)), exif=exif
    )
    return file.getvalue()


def photo(
    digits: Sequence[tuple[Grey, int]],
    generator: Generator,
    touching: bool = False,
    boxed: bool = False,
    sizes: tuple[float, float] = (20, 300),
) -> Photo:
    """Write digits in a row on paper, and photograph it.

    Args:
        touching: one of the digits, chosen by chance, runs into the next.
        boxed: each stands in the box of a printed form.
        sizes: pixels, the least and greatest height of a digit.
    """
    size = float(np.exp(generator.uniform(*np.log(sizes))))
    inks = [
        pen(digit, size * generator.uniform(0.9, 1.1) if len(digits) > 1 else size, generator) for digit, _ in digits
    ]
    pair = int(generator.integers(len(digits) - 1)) if touching else None
    ink, ends = beside(inks, size, pair, generator) if len(digits) > 1 else (inks[0], [(0, inks[0].shape[1])])
    if boxed:
        ink = boxes(ink, ends, size, generator)
    return Photo(photograph(ink, size, generator), "".join(str(label) for _, label in digits), size)
