"""Converts decoded images of any mode to 8-bit grey, in strips, so that a large page takes little more memory."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from app.imaging.digit_image import Grey

STRIP_PIXELS = 65_536  # converted at once; a pixel takes up to 20 bytes meanwhile
MAX_FEW_BITS = 12  # an image of 16 bits that uses no more than this came from a camera or an array with fewer bits


def to_grey(image: Image.Image) -> Grey:
    """Convert an image to 8-bit grey ``(H, W)``: scale the bits that it uses to 8, put transparent pictures on paper.

    Transparent pictures get white paper, or black paper if their ink is light.
    """
    paper = 0 if image.has_transparency_data and has_light_ink(image) else 255
    white = find_white(image) if image.mode.startswith("I") else 255
    if image.width * image.height <= STRIP_PIXELS:
        return strip_to_grey(image, paper, white)
    grey = np.empty((image.height, image.width), np.uint8)
    top = 0
    for strip in cut_into_strips(image):
        grey[top : top + strip.height] = strip_to_grey(strip, paper, white)
        top += strip.height
    return grey


def cut_into_strips(image: Image.Image) -> Iterator[Image.Image]:
    """Yield copies of the rows of an image, from top to bottom."""
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def find_white(image: Image.Image) -> int:
    """Return the level that is white in an image of 16 bits, which may use only 8 to 12 of them."""
    return find_white_of_peak(max(int(np.asarray(strip).max()) for strip in cut_into_strips(image)))


def find_white_of_peak(peak: int) -> int:
    """Return the level that is white in an image of 16 bits whose highest level is ``peak``."""
    bits = peak.bit_length()
    return (1 << (max(8, bits) if bits <= MAX_FEW_BITS else 16)) - 1


def strip_to_grey(image: Image.Image, paper: int, white: int) -> Grey:
    """Convert an image at once.

    Args:
        image: The image.
        paper: The grey level under transparent pixels.
        white: The level that is white in an image of 16 bits.
    """
    if image.has_transparency_data:
        grey, opacity = split_transparency(image)
        sheet = Image.new("L", image.size, paper)
        sheet.paste(grey, mask=opacity)
        return np.asarray(sheet)
    if image.mode.startswith("I"):  # 16 bits: I;16 or I
        return np.round(np.asarray(image).astype(np.float32) / (white / 255)).clip(0, 255).astype(np.uint8)
    return np.asarray(image if image.mode == "L" else image.convert("L"))


def has_light_ink(image: Image.Image) -> bool:
    """Return whether what is opaque in a transparent image is light: the mean grey, weighted by opacity."""
    light = total = 0
    for strip in cut_into_strips(image):
        grey, opacity = (np.asarray(channel).ravel().astype(np.int64) for channel in split_transparency(strip))
        light += int(np.dot(grey, opacity))
        total += int(opacity.sum())
    return light > 127.5 * total


def split_transparency(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Return the grey levels and the opacity of a transparent image."""
    if image.mode not in ("RGBA", "LA"):
        image = image.convert("RGBA")
    return image.convert("L"), image.getchannel("A")
