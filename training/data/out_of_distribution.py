"""Pictures that are not digits, which a model must refuse. No model was trained on them.

Each set is ``uint8 (N, 28, 28)`` in the MNIST convention. Pictures of other sizes go through the service's own
normalisation. ``training/augmentation/outliers.py``, which networks are trained with, shares no code with this module.
The letters that networks are trained with (``training/augmentation/letters.py``) are others, drawn in the same way.
"""

import gzip
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.imaging.digit_image import IMAGE_SIZE
from training.augmentation.letters import draw_letter
from training.errors import DataError

# From Debian's package dataset-fashion-mnist.
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")
FONTS = Path("/usr/share/fonts/truetype")
LATIN_LETTERS = "ACEFHKMNPRTUVWXY"  # the capitals that nobody reads as digits
# Greek and Cyrillic capitals. No outlier was designed after them.
FOREIGN_LETTERS = "ΓΔΛΞΠΣΦΨΩЖИЛЦШЭЮЯ"
ANGLES = (-10, 0, 10)  # degrees
COUNT = 2_000  # pictures in each generated set

Pictures = NDArray[np.uint8]  # (N, 28, 28)


def load_fashion() -> Pictures:
    """Load pictures of clothes: the test split of Fashion-MNIST (Xiao et al. 2017).

    Raises:
        DataError: It is not installed.
    """
    if not FASHION_MNIST.is_file():
        raise DataError(f"{FASHION_MNIST} is missing. Install it: apt install dataset-fashion-mnist")
    raw = gzip.decompress(FASHION_MNIST.read_bytes())
    return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def render_letters(alphabet: str) -> Pictures:
    """Render capitals in every DejaVu and Liberation font that is installed, upright and slightly turned.

    Raises:
        DataError: None of these fonts is installed.
    """
    fonts = sorted(path for family in ("dejavu", "liberation") for path in (FONTS / family).glob("*.ttf"))
    if not fonts:
        raise DataError(
            f"{FONTS} has no DejaVu or Liberation fonts. Install them: apt install fonts-dejavu fonts-liberation"
        )
    return np.stack([draw_letter(*each) for each in product(alphabet, fonts, ANGLES)])


def count_by_letter(accepted_as: NDArray[np.int64], alphabet: str) -> list[tuple[str, int, float]]:
    """Return letters, the digits that they are accepted as, and the share of their pictures, largest share first.

    Args:
        accepted_as: What each picture of ``render_letters(alphabet)`` is accepted as: a digit, or -1 if it is refused.
    """
    by_letter = zip(alphabet, accepted_as.reshape(len(alphabet), -1), strict=True)
    shares = [
        (letter, digit, float((digits == digit).mean())) for letter, digits in by_letter for digit in set(digits) - {-1}
    ]
    return sorted(shares, key=lambda each: -each[2])


def make_noise() -> Pictures:
    """Draw every pixel independently: uniformly from all levels, or white with a probability of 0.1 to 0.5."""
    generator = np.random.default_rng(0)
    grey = generator.integers(0, 256, (COUNT // 2, IMAGE_SIZE, IMAGE_SIZE))
    share = generator.uniform(0.1, 0.5, (COUNT // 2, 1, 1))
    salt = (generator.random((COUNT // 2, IMAGE_SIZE, IMAGE_SIZE)) < share) * 255
    return np.concatenate([grey, salt]).astype(np.uint8)


def make_blanks() -> Pictures:
    """Make empty paper: one level from black to white, with grain of up to six levels."""
    generator = np.random.default_rng(1)
    level = generator.uniform(0, 255, (COUNT, 1, 1))
    grain = generator.normal(0, 1, (COUNT, IMAGE_SIZE, IMAGE_SIZE)) * generator.uniform(0, 6, (COUNT, 1, 1))
    return (level + grain).round().clip(0, 255).astype(np.uint8)


def make_textures() -> Pictures:
    """Make natural-looking textures: noise whose spectrum falls as 1/f, as in photographs (Field 1987)."""
    generator = np.random.default_rng(2)
    frequency = np.hypot(np.fft.fftfreq(IMAGE_SIZE)[:, None], np.fft.rfftfreq(IMAGE_SIZE)[None, :])
    frequency[0, 0] = 1.0
    slope = generator.uniform(0.7, 1.6, (COUNT, 1, 1))
    spectrum = np.fft.rfft2(generator.normal(size=(COUNT, IMAGE_SIZE, IMAGE_SIZE))) / frequency**slope
    spectrum[:, 0, 0] = 0.0
    field = np.fft.irfft2(spectrum, (IMAGE_SIZE, IMAGE_SIZE))
    field /= field.std(axis=(1, 2), keepdims=True)
    mean, contrast = generator.uniform(80, 170, (COUNT, 1, 1)), generator.uniform(20, 70, (COUNT, 1, 1))
    return (mean + field * contrast).round().clip(0, 255).astype(np.uint8)


ALPHABETS = {"letters": LATIN_LETTERS, "foreign letters": FOREIGN_LETTERS}
OUT_OF_DISTRIBUTION: dict[str, Callable[[], Pictures]] = {
    "clothes": load_fashion,
    **{name: partial(render_letters, alphabet) for name, alphabet in ALPHABETS.items()},
    "noise": make_noise,
    "blanks": make_blanks,
    "textures": make_textures,
}
