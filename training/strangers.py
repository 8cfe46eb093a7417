"""Pictures that are not digits, to be refused: what a model is measured on, and was never trained on.

Each set is ``uint8 (N, 28, 28)`` in the MNIST convention, brought there by the service's own normaliser where its
pictures come otherwise. ``junk.py``, which networks are taught with, shares no code with this module.
"""

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.metrics import roc_auc_score

from app.bundle import CASCADE, Bundle
from app.engine import TorchEngine, below, open_engine
from app.network import DIGITS
from app.normalize import normalize
from training.data import Digits
from training.evaluate import score_all

FASHION = Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")  # of Debian's dataset-fashion-mnist
FONTS = Path("/usr/share/fonts/truetype")
LATIN = "ACEFHKMNPRTUVWXY"  # the capitals that cannot be read as digits
ELSEWHERE = "ΓΔΛΞΠΣΦΨΩЖИЛЦШЭЮЯ"  # Greek and Cyrillic ones, of shapes that no junk was made after
COUNT = 2_000
SIZE = 28

Pictures = NDArray[np.uint8]  # (N, 28, 28)


class StrangersError(Exception):
    """What is measured on is not on this machine."""


def fashion() -> Pictures:
    """Clothes: the test split of Fashion-MNIST (Xiao et al. 2017)."""
    if not FASHION.is_file():
        raise StrangersError(f"{FASHION} is not there: apt install dataset-fashion-mnist")
    raw = gzip.decompress(FASHION.read_bytes())
    return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, SIZE, SIZE)


def letters(alphabet: str = LATIN) -> Pictures:
    """Printed capitals in every DejaVu and Liberation font that is installed, upright and slightly turned."""
    fonts = sorted(path for family in ("dejavu", "liberation") for path in (FONTS / family).glob("*.ttf"))
    if not fonts:
        raise StrangersError(f"no DejaVu or Liberation font in {FONTS}: apt install fonts-dejavu fonts-liberation")
    pictures = []
    for path in fonts:
        font = ImageFont.truetype(path, 64)
        for letter in alphabet:
            for angle in (-10, 0, 10):
                page = Image.new("L", (128, 128), 0)
                ImageDraw.Draw(page).text((64, 64), letter, font=font, fill=255, anchor="mm")
                pictures.append(normalize(np.asarray(page.rotate(angle, Image.Resampling.BICUBIC))).pixels)
    return np.stack(pictures)


def noise() -> Pictures:
    """Every pixel drawn alone: evenly from all levels, or white with a chance of a tenth to a half."""
    generator = np.random.default_rng(0)
    grey = generator.integers(0, 256, (COUNT // 2, SIZE, SIZE))
    share = generator.uniform(0.1, 0.5, (COUNT // 2, 1, 1))
    salt = (generator.random((COUNT // 2, SIZE, SIZE)) < share) * 255
    return np.concatenate([grey, salt]).astype(np.uint8)


def blanks() -> Pictures:
    """Paper with nothing on it: one level, black to white, with grain of up to six levels."""
    generator = np.random.default_rng(1)
    level = generator.uniform(0, 255, (COUNT, 1, 1))
    grain = generator.normal(0, 1, (COUNT, SIZE, SIZE)) * generator.uniform(0, 6, (COUNT, 1, 1))
    return (level + grain).round().clip(0, 255).astype(np.uint8)


def textures() -> Pictures:
    """Natural-looking textures: noise with a spectrum that falls as 1/f, as photographs' does (Field 1987)."""
    generator = np.random.default_rng(2)
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :])
    frequency[0, 0] = 1.0
    slope = generator.uniform(0.7, 1.6, (COUNT, 1, 1))
    spectrum = np.fft.rfft2(generator.normal(size=(COUNT, SIZE, SIZE))) / frequency**slope
    spectrum[:, 0, 0] = 0.0
    field = np.fft.irfft2(spectrum, (SIZE, SIZE))
    field /= field.std(axis=(1, 2), keepdims=True)
    middle, spread = generator.uniform(80, 170, (COUNT, 1, 1)), generator.uniform(20, 70, (COUNT, 1, 1))
    return (middle + field * spread).round().clip(0, 255).astype(np.uint8)


STRANGERS: dict[str, Callable[[], Pictures]] = {
    "clothes": fashion,
    "letters": letters,
    "letters of elsewhere": partial(letters, ELSEWHERE),
    "noise": noise,
    "blanks": blanks,
    "textures": textures,
}

# What can tell a digit from what is none. The first ships; the others are the baselines of the literature.
SCORES = ("typicality", "max softmax", "energy")


def refused(model: Bundle, digits: Digits, pictures: dict[str, Pictures]) -> dict[str, dict[str, Any]]:
    """Measure how a model, as it ships, tells pictures that are not digits from digits.

    ``accepted`` is the share of a set that the service would accept, through its normaliser and at its thresholds.
    ``auroc`` and ``false_accepts`` are by score: of the networks' answers to the pictures as they are, the second at
    the threshold that 99.5 % of the digits reach by that score alone.
    """
    engine = open_engine(model, "onnxruntime", "cpu", torch.get_num_threads())
    thresholds = model.manifest.thresholds("onnxruntime", None)
    last = CASCADE[-1] if model.manifest.cascades else next(iter(model.manifest.networks))
    network = TorchEngine(model, last, "cpu", torch.get_num_threads()).network

    def scored(images: Pictures) -> dict[str, NDArray[np.float32]]:
        scores = score_all(engine, images)
        with torch.inference_mode():
            parts = torch.from_numpy(images.copy()).split(500)
            energy = torch.cat([network.logits(part)[:, :DIGITS].logsumexp(dim=1) for part in parts])
        confidence = scores.probabilities.max(axis=1)
        return dict(zip(SCORES, (scores.typicality, confidence, energy.numpy()), strict=True))

    of_digits = scored(digits.images.numpy())
    results: dict[str, dict[str, Any]] = {}
    for name, images in pictures.items():
        normalized = [normalize(image) for image in images]
        served = score_all(engine, np.stack([each.pixels for each in normalized]))
        accepted = ~below(served, thresholds) & ~np.array([each.blank for each in normalized])
        of_strangers = scored(images)
        kind = np.repeat([1, 0], [len(digits), len(images)])
        results[name] = {
            "accepted": float(accepted.mean()),
            "auroc": {
                score: float(roc_auc_score(kind, np.concatenate([of_digits[score], of_strangers[score]])))
                for score in SCORES
            },
            "false_accepts": {
                score: float((of_strangers[score] >= np.quantile(of_digits[score], 0.005)).mean()) for score in SCORES
            },
        }
    return results
