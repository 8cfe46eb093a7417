"""Finds fonts, tells handwriting from print by the name, and draws text with them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.pages.pens import crop
from training.pages.sheet import Coverage

# Parts of the file names of fonts that look handwritten.
SCRIPT_NAMES = ("hand", "script", "dkg", "breip", "kristi", "rufscript", "ecolier", "dancing", "caveat", "pacifico")
MARGIN = 0.6  # of the size, because swashes leave the box of their letter


def find_fonts(folders: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the fonts in some folders that have Latin letters: those for print, and those like handwriting."""
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in {".ttf", ".otf"})
    usable = [path for path in paths if has_letters(path)]
    is_script = [any(name in path.stem.lower() for name in SCRIPT_NAMES) for path in usable]
    return (
        [path for path, script in zip(usable, is_script, strict=True) if not script],
        [path for path, script in zip(usable, is_script, strict=True) if script],
    )


def has_letters(path: Path) -> bool:
    """Return whether a font can be opened and draws two letters differently: one without them draws two boxes."""
    try:
        font = ImageFont.truetype(path, 20)
        return bytes(font.getmask("A")) != bytes(font.getmask("n"))
    except OSError:
        return False


def draw_text(text: str, font: Path, size: float) -> Coverage:
    """Draw text as ink, cropped.

    Args:
        size: Pixels of the height of a line, about one and a half times that of a capital.
    """
    face = ImageFont.truetype(font, max(4, round(size)))
    margin = round(size * MARGIN) + 2
    left, top, right, bottom = face.getbbox(text)
    image = Image.new("L", (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin), 0)
    ImageDraw.Draw(image).text((margin - left, margin - top), text, font=face, fill=255)
    return crop(np.asarray(image, np.float32) / np.float32(255))
