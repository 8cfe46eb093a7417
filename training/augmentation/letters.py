"""Letters of four scripts, as outliers: a network that has seen some alphabets refuses others more often.

Letters that look like a digit were left out by eye, and so were those that look like the Greek, Cyrillic and Latin
capitals that refusal is measured on (``training/data/out_of_distribution.py``).
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

from app.imaging.digit_image import Grey
from app.imaging.normalize import normalize

ARMENIAN = "ԱԲԴԵԸԹԺԻԽՂՄՆՈՌՔաբդեէըթժիխհմնոպռտք"
GEORGIAN = "ႠႥႧႪႫႬႮႰႲႹႻႼႾႿჀჁჅდთილორფქღჯ"
HEBREW = "אמצ"
LAO = "ກຄດຕຖທນບປຜຝພຟມສຫ"
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Italic")
FONT_SIZE, PAGE_SIDE = 64, 128  # pixels


def draw_letters(count: int, generator: Generator) -> Tensor:
    """Draw ``count`` letters at random, ``float32 (count, 28, 28)`` on the scale 0 to 255."""
    letters = render_letters(generator.device)
    chosen = torch.randint(len(letters), (count,), generator=generator, device=generator.device)
    return letters[chosen].float()


@cache
def render_letters(device: torch.device) -> Tensor:
    """Render every letter in every font that has it: ``uint8 (N, 28, 28)``. matplotlib brings the fonts."""
    import matplotlib
    from matplotlib.ft2font import FT2Font

    pictures = []
    for name in FONTS:
        path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf")
        has_glyph = FT2Font(path).get_charmap()
        letters = [letter for letter in ARMENIAN + GEORGIAN + HEBREW + LAO if ord(letter) in has_glyph]
        pictures += [draw_letter(letter, path) for letter in letters]
    return torch.from_numpy(np.stack(pictures)).to(device)


def draw_letter(letter: str, font: Path, angle: float = 0.0) -> Grey:
    """Draw a letter, and normalise it as the service would: ``(28, 28)``, white on black.

    Args:
        angle: Degrees that it is turned by, counterclockwise.
    """
    page = Image.new("L", (PAGE_SIDE, PAGE_SIDE), 0)
    middle = (PAGE_SIDE / 2, PAGE_SIDE / 2)
    ImageDraw.Draw(page).text(middle, letter, font=ImageFont.truetype(font, FONT_SIZE), fill=255, anchor="mm")
    return normalize(np.asarray(page.rotate(angle, Image.Resampling.BICUBIC))).pixels
