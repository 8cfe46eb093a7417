"""Letters of four scripts, as outliers: a network that has seen some alphabets refuses others more often.

The fonts are the DejaVu fonts that matplotlib brings. No letter here looks like a digit, and none has the shape of a
Greek, Cyrillic or Latin capital that refusal is measured on (``training/data/out_of_distribution.py``).
"""

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

from app.imaging.normalize import normalize

ARMENIAN = "ԱԲԴԵԸԹԺԻԽՂՄՆՈՌՔաբդեէըթժիխհմնոպռտք"
GEORGIAN = "ႠႥႧႪႫႬႮႰႲႹႻႼႾႿჀჁჅდთილორფქღჯ"
HEBREW = "אמצ"
LAO = "ກຄດຕຖທນບປຜຝພຟມສຫ"
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Italic")


def draw_letters(count: int, generator: Generator) -> Tensor:
    """Draw ``count`` letters at random, ``float32 (count, 28, 28)`` on the scale 0 to 255."""
    letters = render_letters(generator.device)
    chosen = torch.randint(len(letters), (count,), generator=generator, device=generator.device)
    return letters[chosen].float()


@cache
def render_letters(device: torch.device) -> Tensor:
    """Render every letter in every font that has it, as the service would normalise it: ``uint8 (N, 28, 28)``."""
    pictures = []
    for name in FONTS:
        path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf")
        has_glyph = FT2Font(path).get_charmap()
        font = ImageFont.truetype(path, 64)
        for letter in ARMENIAN + GEORGIAN + HEBREW + LAO:
            if ord(letter) in has_glyph:
                page = Image.new("L", (128, 128), 0)
                ImageDraw.Draw(page).text((64, 64), letter, font=font, fill=255, anchor="mm")
                pictures.append(normalize(np.asarray(page)).pixels)
    return torch.from_numpy(np.stack(pictures)).to(device)
