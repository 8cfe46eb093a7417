"""A camera or scanner: where it sees the sheet from, and what its lens, sensor and file do to the picture."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from app.imaging.rectangle import Rectangle
from training.pages.paper import Pixels
from training.pages.sheet import Outline, Sheet

MARGIN = 2  # pixels between a digit and the edge of a picture
TRIES = 8  # of a view; each is half as far from the upright one


@dataclass(frozen=True)
class View:
    """Where the sheet is in a picture."""

    matrix: NDArray[np.float64]  # (3, 3): from pixels of the sheet to pixels of the picture
    width: int
    height: int

    def locate(self, outline: Outline) -> Rectangle:
        """Return the box of a digit in the picture."""
        points = cv2.perspectiveTransform(outline, self.matrix)[:, 0]
        (left, top), (right, bottom) = np.floor(points.min(axis=0) + 0.5), np.floor(points.max(axis=0) + 0.5)
        return Rectangle(int(left), int(top), int(right) + 1, int(bottom) + 1)

    def shows(self, outlines: Sequence[Sequence[Outline]]) -> bool:
        """Return whether all digits are inside the picture."""
        picture = Rectangle(MARGIN, MARGIN, self.width - MARGIN, self.height - MARGIN)
        return all(picture.contains(self.locate(outline)) for line in outlines for outline in line)


@dataclass(frozen=True)
class Shot:
    """What the camera sees, before light, lens and sensor."""

    pixels: Pixels  # (H, W, 3)
    classes: NDArray[np.uint8]  # (H, W)
    boxes: list[list[Rectangle]]


def choose_view(
    sheet: Sheet, width: int, height: int, zoom: float, turn: float, tilt: float, shift: float, generator: Generator
) -> View:  # fmt: skip
    """Choose a view that shows all digits.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        zoom: Pixels of the picture per pixel of the sheet.
        turn: The largest rotation, in degrees.
        tilt: The largest shift of a corner by perspective, in widths of the sheet.
        shift: The largest shift of the sheet, in widths of the picture.
    """
    tall, wide = sheet.shape
    corners = np.array([(0, 0), (wide, 0), (wide, tall), (0, tall)], np.float32)
    angle = np.deg2rad(generator.uniform(-turn, turn))
    bends = generator.uniform(-tilt, tilt, (4, 2)) * wide
    offset = generator.uniform(-shift, shift, 2) * width
    view = View(np.eye(3), width, height)
    for attempt in range(TRIES + 1):
        share = 0.5**attempt if attempt < TRIES else 0.0
        cos, sin = np.cos(angle * share), np.sin(angle * share)
        turned = (corners - (wide / 2, tall / 2) + bends * share) @ np.array([[cos, sin], [-sin, cos]]) * zoom
        seen = (turned + (width / 2, height / 2) + offset * share).astype(np.float32)
        view = View(cv2.getPerspectiveTransform(corners, seen), width, height)
        if view.shows(sheet.outlines):
            break
    return view


def look(sheet: Sheet, view: View, around: Pixels | None = None) -> Shot:
    """Look at a sheet.

    Args:
        around: What is seen beside it, ``(H, W, 3)``. If None, the sheet goes on as it is at its edges.
    """
    size = (view.width, view.height)
    border = cv2.BORDER_REPLICATE if around is None else cv2.BORDER_CONSTANT
    pixels = cv2.warpPerspective(sheet.pixels, view.matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)
    classes = cv2.warpPerspective(sheet.classes, view.matrix, size, flags=cv2.INTER_NEAREST)
    if around is not None:
        paper = np.ones(sheet.shape, np.float32)
        cover = cv2.warpPerspective(paper, view.matrix, size, flags=cv2.INTER_LINEAR)[..., None]
        # The sheet throws a narrow shadow on the desk.
        spread = max(2.0, view.width / 200)
        shadow = 1 - 0.35 * cv2.GaussianBlur(cover, (0, 0), spread)[..., None] * (1 - cover)
        pixels = pixels + around * shadow * (1 - cover)
    return Shot(pixels, classes, [[view.locate(outline) for outline in line] for line in sheet.outlines])


def blur(pixels: Pixels, sharpness: float, generator: Generator) -> Pixels:
    """Blur as a lens out of focus does, and in one of eight pictures as a hand that moves.

    Args:
        sharpness: The largest deviation of the blur, in pixels.
    """
    blurred: Pixels = cv2.GaussianBlur(pixels, (0, 0), max(0.25, sharpness * generator.uniform(0.1, 1)))
    if generator.random() < 0.125 and sharpness > 0.6:
        reach = int(2 * sharpness) * 2 + 1
        kernel = np.zeros((reach, reach), np.float32)
        angle = generator.uniform(0, np.pi)
        middle, step = reach // 2, np.array([np.cos(angle), np.sin(angle)]) * (reach // 2)
        ends = [(round(middle + sign * step[0]), round(middle + sign * step[1])) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        blurred = cv2.filter2D(blurred, -1, kernel / kernel.sum())
    return blurred


def expose(pixels: Pixels, noise: float, generator: Generator, dimmest: float = 0.75) -> NDArray[np.uint8]:
    """Expose a sensor: a brightness, a cast of colour, a lack of contrast, and noise. Round to bytes.

    Args:
        pixels: ``(H, W, 3)``, 0 to 255.
        noise: The largest deviation of the noise, in levels.
        dimmest: The lowest brightness, where 1 keeps that of the paper.
    """
    gains = np.float32(generator.uniform(dimmest, 1.04)) * generator.uniform(0.93, 1.04, 3).astype(np.float32)
    black = np.float32(generator.uniform(0, 18))
    grain = generator.standard_normal(pixels.shape, np.float32)
    grain *= np.float32(noise * generator.uniform(0, 1) ** 2)
    exposed = pixels * (gains * np.float32(1 - black / 255))
    exposed += grain
    exposed += black
    return exposed.round(out=exposed).clip(0, 255, out=exposed).astype(np.uint8)


def encode_jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """Encode a picture ``(H, W)`` or ``(H, W, 3)`` as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()
