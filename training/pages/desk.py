"""What surrounds a sheet in a photograph: the desk, a spiral binding, a finger."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.pages.paper import Pixels
from training.pages.sheet import Sheet
from training.pages.texture import make_noise

DESK_COLOURS = (
    (120, 80, 50),
    (175, 135, 95),
    (60, 45, 35),
    (40, 42, 46),
    (150, 150, 150),
    (225, 222, 215),
    (85, 95, 85),
)
FINGER_SIDE = 500  # pixels, the longer side of the picture in which a finger is drawn
SKIN_COLOURS = ((225, 180, 155), (190, 140, 110), (120, 80, 60), (85, 55, 40))


def make_desk(shape: tuple[int, int], generator: Generator) -> Pixels:
    """Make the surface of a desk ``(H, W, 3)``: wood with veins along it, or something even or speckled."""
    colour = np.array(DESK_COLOURS[int(generator.integers(len(DESK_COLOURS)))], np.float32)
    vein = max(shape) / 150
    level = np.ones(shape, np.float32)
    if generator.random() < 0.55:
        across = shape if generator.random() < 0.5 else shape[::-1]
        veins = make_noise(across, vein, generator, 25) + 0.7 * make_noise(across, 4 * vein, generator, 12)
        level += np.float32(generator.uniform(0.02, 0.09)) * (veins if across == shape else veins.T)
    else:
        level += np.float32(generator.uniform(0, 0.1)) * make_noise(shape, max(1.0, vein / 2), generator)
    if generator.random() < 0.3:  # the desk ends
        edge = int(generator.uniform(0, 0.25) * shape[0])
        level[:edge] *= np.float32(generator.uniform(0.2, 0.7))
    pixels: Pixels = level[..., None] * colour * np.float32(generator.uniform(0.8, 1.1))
    return pixels.clip(0, 255)


def punch_spiral(sheet: Sheet, generator: Generator) -> None:
    """Punch a row of holes with wire along the left or the upper edge of a sheet."""
    height, width = sheet.shape
    along_top = generator.random() < 0.4
    length = width if along_top else height
    step = max(width, height) / generator.uniform(22, 40)
    depth, radius = step * generator.uniform(0.6, 0.9), step * generator.uniform(0.16, 0.28)
    wire = float(generator.uniform(30, 150))
    for at in np.arange(step / 2, length, step):
        hole, end = ((at, depth), (at + step * 0.15, -2.0)) if along_top else ((depth, at), (-2.0, at + step * 0.15))
        cv2.circle(sheet.pixels, to_pixel(hole), max(1, round(radius)), (45.0, 42.0, 40.0), -1, cv2.LINE_AA)
        thick = max(1, round(radius * 0.7))
        cv2.line(sheet.pixels, to_pixel(hole), to_pixel(end), (wire, wire, wire), thick, cv2.LINE_AA)


def to_pixel(point: tuple[float, float]) -> tuple[int, int]:
    """Round a point to a pixel."""
    return round(point[0]), round(point[1])


def lay_finger(pixels: Pixels, generator: Generator) -> tuple[Pixels, NDArray[np.bool_]]:
    """Lay a finger or thumb over an edge of a picture.

    Returns:
        The picture, and where the finger is, ``bool (H, W)``.
    """
    full = (pixels.shape[1], pixels.shape[0])
    shrink = max(1, max(full) // FINGER_SIDE)  # wide blurs are slow, and a finger has no fine detail
    width, height = full[0] // shrink, full[1] // shrink
    thick = min(height, width) * generator.uniform(0.1, 0.18)
    reach = min(height, width) * generator.uniform(0.06, 0.16)
    mask = np.zeros((height, width), np.float32)
    side = int(generator.integers(4))
    at = generator.uniform(0.15, 0.85)
    tip = [(reach, at * height), (width - reach, at * height), (at * width, reach), (at * width, height - reach)][side]
    root = [(-height, at * height), (2 * width, at * height), (at * width, -height), (at * width, 2 * height)][side]
    bend = generator.uniform(-0.4, 0.4) * height
    root = (root[0], root[1] + bend) if side < 2 else (root[0] + bend, root[1])
    cv2.line(mask, to_pixel(root), to_pixel(tip), 1.0, max(2, round(thick)), cv2.LINE_AA)
    mask = cv2.GaussianBlur(mask, (0, 0), max(1.0, thick / 40))
    shade = cv2.resize(cv2.GaussianBlur(mask, (0, 0), thick / 4), full)[..., None]
    halo = cv2.resize(cv2.GaussianBlur(mask, (0, 0), thick / 3), full)[..., None]
    cover: Pixels = cv2.resize(mask, full)[..., None]
    colour = np.array(SKIN_COLOURS[int(generator.integers(len(SKIN_COLOURS)))], np.float32)
    skin = colour * (0.45 + 0.6 * shade)
    shadow = 1 - 0.3 * halo * (1 - cover)
    return (pixels * shadow * (1 - cover) + skin * cover).astype(np.float32), cover[..., 0] > 0.5
