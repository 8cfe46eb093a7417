"""Digits from elsewhere, and MNIST's own out of shape: how a model does away from what it was trained on.

Every set is ``Digits`` in the MNIST convention, brought there by the service's own normaliser where its pictures are
not 28x28. The corruptions are of the kinds of MNIST-C (Mu and Gilmer 2019, "MNIST-C: A Robustness Benchmark"), made
here by code of our own; they bend held-out digits of the training split, so that the test split is not read.
"""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Generator, Tensor

from app.normalize import normalize
from training.augment import Augmentation, augment
from training.data import DataError, Digits

SIZE = 28
STILL = Augmentation(rotation=0, scale=0, shear=0, shift=0, elastic=0, elastic_grid=2, erase=0, erase_size=1)


def usps_pictures(data_dir: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read ``data_dir/usps/zip.train.gz``: 7,291 digits from US Mail envelopes, 16x16 (Le Cun et al. 1990).

    Raises:
        DataError: it is not there.
    """
    path = data_dir / "usps" / "zip.train.gz"
    if not path.is_file():
        raise DataError(f"{path} is not there: USPS is in the Elements of Statistical Learning's data, as zip.train.gz")
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file)
    grey = np.round((table[:, 1:] + 1) * 127.5).astype(np.uint8).reshape(-1, 16, 16)
    return grey, table[:, 0].astype(np.int64)


def scikit_pictures() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """scikit-learn's 1,797 digits, 8x8 (Alpaydin and Kaynak 1998)."""
    bunch = load_digits()
    return (bunch.images * (255 / 16)).astype(np.uint8), bunch.target.astype(np.int64)


def usps(data_dir: Path) -> Digits:
    """USPS in the MNIST convention. Raises as ``usps_pictures`` does."""
    return brought_home(*usps_pictures(data_dir))


def scikit_digits() -> Digits:
    """scikit-learn's digits in the MNIST convention."""
    return brought_home(*scikit_pictures())


def brought_home(grey: NDArray[np.uint8], labels: NDArray[np.int64]) -> Digits:
    """Bring pictures of any size to the MNIST convention, as the service does."""
    pixels = np.stack([normalize(picture).pixels for picture in grey])
    return Digits(torch.from_numpy(pixels), torch.from_numpy(labels))


Corruption = Callable[[Tensor, Generator], Tensor]  # float (N, 28, 28) in [0, 255] to the same


def affine(**amounts: float) -> Corruption:
    """Bend as augmentation does, and further."""
    config = Augmentation(**{**vars(STILL), **amounts})
    return lambda images, generator: augment(images, config, generator)


def shot_noise(images: Tensor, generator: Generator) -> Tensor:
    """Few photons: each pixel a Poisson count of one that stands for a twelfth of white."""
    return torch.poisson(images / 255 * 12, generator=generator) / 12 * 255


def blur(images: Tensor, generator: Generator) -> Tensor:
    """Out of focus: a Gaussian of 1.5 pixels."""
    line = torch.exp(-((torch.arange(-4.0, 5.0) / 1.5) ** 2) / 2)
    line = (line / line.sum()).view(1, 1, 1, -1)
    x = F.conv2d(images.unsqueeze(1), line, padding=(0, 4))
    return F.conv2d(x, line.transpose(2, 3), padding=(4, 0)).squeeze(1)


def brightness(images: Tensor, generator: Generator) -> Tensor:
    """Paper that is not black: everything lifted by 100 levels."""
    return images + 100


def stripe(images: Tensor, generator: Generator) -> Tensor:
    """A band down each side is inverted."""
    bent = images.clone()
    for columns in (slice(0, 5), slice(23, 28)):
        bent[:, :, columns] = 255 - bent[:, :, columns]
    return bent


def fog(images: Tensor, generator: Generator) -> Tensor:
    """Smooth grey clouds over all of it, up to 120 levels."""
    clouds = torch.rand(len(images), 1, 4, 4, generator=generator)
    clouds = F.interpolate(clouds, (SIZE, SIZE), mode="bicubic", align_corners=True).squeeze(1).clamp(0, 1)
    return images * 0.8 + clouds * 120


def spatter(images: Tensor, generator: Generator) -> Tensor:
    """Half a dozen blots of ink, two or three pixels wide."""
    seeds = torch.rand(len(images), 1, SIZE, SIZE, generator=generator) < 6 / SIZE**2
    blots = F.avg_pool2d(seeds.float(), 3, stride=1, padding=1).squeeze(1) * 9
    return torch.maximum(images, blots.clamp(0, 1) * 220)


def line_points(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """One straight line a picture, from side to side: 28 columns and the row at each, (N, 28)."""
    ends = torch.rand(count, 2, generator=generator) * (SIZE - 1)
    along = torch.linspace(0, 1, SIZE)
    return torch.arange(SIZE).expand(count, SIZE), ends[:, :1] * (1 - along) + ends[:, 1:] * along


def drawn(images: Tensor, columns: Tensor, rows: Tensor, on: Tensor) -> Tensor:
    """Draw white points, one a column, where ``on``."""
    bent = images.clone()
    picture = torch.arange(len(images)).unsqueeze(1).expand_as(columns)
    chosen = on.expand_as(columns)
    bent[picture[chosen], rows.round().long().clamp(0, SIZE - 1)[chosen], columns[chosen]] = 255
    return bent


def dotted_line(images: Tensor, generator: Generator) -> Tensor:
    """A dotted line across the digit."""
    columns, rows = line_points(len(images), generator)
    return drawn(images, columns, rows, torch.arange(SIZE) % 3 < 2)


def zigzag(images: Tensor, generator: Generator) -> Tensor:
    """A zigzag line across the digit, three pixels up and down."""
    columns, rows = line_points(len(images), generator)
    wave = ((torch.arange(SIZE) % 8) - 4).abs() * 1.5 - 3
    return drawn(images, columns, rows + wave, torch.ones(SIZE, dtype=torch.bool))


CORRUPTIONS: dict[str, Corruption] = {
    "shot noise": shot_noise,
    "blur": blur,
    "shear": affine(shear=0.6),
    "scale": affine(scale=0.5),
    "rotate": affine(rotation=35),
    "shift": affine(shift=5),
    "brightness": brightness,
    "stripe": stripe,
    "fog": fog,
    "spatter": spatter,
    "dotted line": dotted_line,
    "zigzag": zigzag,
}


def corrupted(digits: Digits, name: str) -> Digits:
    """Put digits out of shape, in the same way each time."""
    bent = CORRUPTIONS[name](digits.images.float(), Generator().manual_seed(0))
    return Digits(bent.round().clamp(0, 255).to(torch.uint8), digits.labels)
