"""Corrupts digits in twelve ways, to measure how robust a model is.

The corruptions follow the kinds of MNIST-C (Mu and Gilmer 2019, "MNIST-C: A Robustness Benchmark"), in our own
implementation. They are applied to held-out digits of the training split, so that the test split is not read.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from app.imaging.digit_image import IMAGE_SIZE
from training.augmentation.geometry import augment
from training.data.mnist import Digits
from training.recipes import Augmentation

NO_AUGMENTATION = Augmentation(rotation=0, scale=0, shear=0, shift=0, elastic=0, elastic_grid=2, erase=0, erase_size=1)

Corruption = Callable[[Tensor, Generator], Tensor]  # float (N, 28, 28) in [0, 255] to the same


def distort(**amounts: float) -> Corruption:
    """Return a corruption that distorts as augmentation does, but further."""
    config = Augmentation(**{**vars(NO_AUGMENTATION), **amounts})
    return lambda images, generator: augment(images, config, generator)


def add_shot_noise(images: Tensor, generator: Generator) -> Tensor:
    """Simulate few photons: each pixel becomes a Poisson count, in which 12 is white."""
    return torch.poisson(images / 255 * 12, generator=generator) / 12 * 255


def blur(images: Tensor, generator: Generator) -> Tensor:
    """Blur with a Gaussian of 1.5 pixels, as if out of focus."""
    kernel = torch.exp(-((torch.arange(-4.0, 5.0) / 1.5) ** 2) / 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    x = F.conv2d(images.unsqueeze(1), kernel, padding=(0, 4))
    return F.conv2d(x, kernel.transpose(2, 3), padding=(4, 0)).squeeze(1)


def brighten(images: Tensor, generator: Generator) -> Tensor:
    """Brighten everything by 100 levels, so that the paper is no longer black."""
    return images + 100


def invert_sides(images: Tensor, generator: Generator) -> Tensor:
    """Invert a band along the left and the right side."""
    corrupted = images.clone()
    for columns in (slice(0, 5), slice(IMAGE_SIZE - 5, IMAGE_SIZE)):
        corrupted[:, :, columns] = 255 - corrupted[:, :, columns]
    return corrupted


def add_fog(images: Tensor, generator: Generator) -> Tensor:
    """Add smooth grey clouds of up to 120 levels everywhere."""
    clouds = torch.rand(len(images), 1, 4, 4, generator=generator)
    clouds = F.interpolate(clouds, (IMAGE_SIZE, IMAGE_SIZE), mode="bicubic", align_corners=True).squeeze(1).clamp(0, 1)
    return images * 0.8 + clouds * 120


def add_spatter(images: Tensor, generator: Generator) -> Tensor:
    """Add about six blots of ink, two or three pixels wide."""
    seeds = torch.rand(len(images), 1, IMAGE_SIZE, IMAGE_SIZE, generator=generator) < 6 / IMAGE_SIZE**2
    blots = F.avg_pool2d(seeds.float(), 3, stride=1, padding=1).squeeze(1) * 9
    return torch.maximum(images, blots.clamp(0, 1) * 220)


def draw_line_points(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw one straight line per picture, from side to side. Return 28 columns and the row at each, ``(N, 28)``."""
    ends = torch.rand(count, 2, generator=generator) * (IMAGE_SIZE - 1)
    position = torch.linspace(0, 1, IMAGE_SIZE)
    return torch.arange(IMAGE_SIZE).expand(count, IMAGE_SIZE), ends[:, :1] * (1 - position) + ends[:, 1:] * position


def draw_points(images: Tensor, columns: Tensor, rows: Tensor, is_drawn: Tensor) -> Tensor:
    """Draw white points, one per column, where ``is_drawn``."""
    corrupted = images.clone()
    picture = torch.arange(len(images)).unsqueeze(1).expand_as(columns)
    mask = is_drawn.expand_as(columns)
    corrupted[picture[mask], rows.round().long().clamp(0, IMAGE_SIZE - 1)[mask], columns[mask]] = 255
    return corrupted


def draw_dotted_line(images: Tensor, generator: Generator) -> Tensor:
    """Draw a dotted line across the digit."""
    columns, rows = draw_line_points(len(images), generator)
    return draw_points(images, columns, rows, torch.arange(IMAGE_SIZE) % 3 < 2)


def draw_zigzag(images: Tensor, generator: Generator) -> Tensor:
    """Draw a zigzag line across the digit, three pixels up and down."""
    columns, rows = draw_line_points(len(images), generator)
    wave = ((torch.arange(IMAGE_SIZE) % 8) - 4).abs() * 1.5 - 3
    return draw_points(images, columns, rows + wave, torch.ones(IMAGE_SIZE, dtype=torch.bool))


CORRUPTIONS: dict[str, Corruption] = {
    "shot noise": add_shot_noise,
    "blur": blur,
    "shear": distort(shear=0.6),
    "scale": distort(scale=0.5),
    "rotate": distort(rotation=35),
    "shift": distort(shift=5),
    "brightness": brighten,
    "stripe": invert_sides,
    "fog": add_fog,
    "spatter": add_spatter,
    "dotted line": draw_dotted_line,
    "zigzag": draw_zigzag,
}


def corrupt(digits: Digits, name: str) -> Digits:
    """Apply one of ``CORRUPTIONS`` to digits, in the same way on each call."""
    corrupted = CORRUPTIONS[name](digits.images.float(), Generator().manual_seed(0))
    return Digits(corrupted.round().clamp(0, 255).to(torch.uint8), digits.labels)
