"""Batches of digits, soiled: grey and uneven paper, lines across, blots, bands at the edge, grain.

What the service is sent is not as clean as MNIST, and a network that has only seen clean paper reads a stray line as
part of the digit. Each kind of dirt falls on its share of the pictures, independently of the others. Knows nothing of
what the digits are; works on whole batches on any device, like ``augment.py``.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from training.augment import SIZE, WHITE, interpolation, uniform


def soil(images: Tensor, share: float, generator: Generator) -> Tensor:
    """Soil ``float32 (N, 28, 28)`` on the scale 0 to 255; ``share`` is of the pictures, for each kind of dirt."""
    images = images.clone()
    for kind in (lines, blots, bands, paper, grain):
        chosen = (torch.rand(len(images), generator=generator, device=images.device) < share).nonzero().squeeze(1)
        images[chosen] = kind(images[chosen], generator)
    return images


def lines(images: Tensor, generator: Generator) -> Tensor:
    """A thin wavy or straight line from side to side, or from top to bottom, over or beside the digit."""
    count = len(images)
    along = torch.linspace(0, 1, SIZE, device=images.device)
    start, end = (uniform((count, 1), -2, SIZE + 1, generator, images.device) for _ in range(2))
    height = uniform((count, 1), -4, 4, generator, images.device)
    turns = uniform((count, 1), 0, 5, generator, images.device)
    middle = start * (1 - along) + end * along + height * torch.sin(turns * along * 2 * torch.pi)  # (N, 28)
    width = uniform((count, 1, 1), 0.4, 1.0, generator, images.device)
    across = torch.arange(SIZE, device=images.device).view(1, SIZE, 1)
    ink = torch.exp(-(((across - middle.unsqueeze(1)) / width) ** 2)) * uniform(
        (count, 1, 1), 0.3, 1, generator, images.device
    )
    turned = torch.rand(count, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.maximum(images, torch.where(turned, ink.transpose(1, 2), ink) * WHITE)


def blots(images: Tensor, generator: Generator) -> Tensor:
    """A few specks of ink, a pixel to three wide."""
    density = uniform((len(images), 1, 1), 0, 10 / SIZE**2, generator, images.device)
    specks = (torch.rand(images.shape, generator=generator, device=images.device) < density).float()
    wide = F.max_pool2d(specks.unsqueeze(1), 2, stride=1, padding=1).squeeze(1)[:, :SIZE, :SIZE]
    size = torch.rand(len(images), 1, 1, generator=generator, device=images.device) < 0.5
    return torch.maximum(images, torch.where(size, wide, specks) * WHITE)


def bands(images: Tensor, generator: Generator) -> Tensor:
    """A lighter band along one or two opposite edges: the border of a box, the edge of a shadow."""
    depth = uniform((len(images), 1, 1), 1, 6, generator, images.device)
    level = uniform((len(images), 1, 1), 0.2, 1, generator, images.device) * WHITE
    column = torch.arange(SIZE, device=images.device).view(1, 1, SIZE)
    left, right = (torch.rand(len(images), 1, 1, generator=generator, device=images.device) < 0.7 for _ in range(2))
    inside = ((column < depth) & left) | ((column >= SIZE - depth) & right)
    inside = inside.expand(-1, SIZE, -1)
    turned = torch.rand(len(images), 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(torch.where(turned, inside.transpose(1, 2), inside), level, images)


def paper(images: Tensor, generator: Generator) -> Tensor:
    """Paper that is grey, evenly or in clouds, and ink that is faint on it."""
    spread = interpolation(4, images.device)
    clouds = spread @ torch.rand(len(images), 4, 4, generator=generator, device=images.device) @ spread.T
    even = torch.rand(len(images), 1, 1, generator=generator, device=images.device)
    mixed = torch.rand(len(images), 1, 1, generator=generator, device=images.device)
    ground = (clouds * mixed + even * (1 - mixed)).clamp(0, 1) * 140
    faint = uniform((len(images), 1, 1), 0.6, 1, generator, images.device)
    return ground + images * faint * (WHITE - ground) / WHITE


def grain(images: Tensor, generator: Generator) -> Tensor:
    """Noise of up to 30 levels."""
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + noise * uniform((len(images), 1, 1), 0, 30, generator, images.device)).clamp(0, WHITE)
