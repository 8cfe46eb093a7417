"""Batches of digits, bent: affine and elastic distortion in one resampling, and erasing.

Works on whole batches of tensors on any device; knows nothing of recipes, labels or networks. The idea of training
on elastic distortions is from Simard et al. 2003, "Best Practices for Convolutional Neural Networks"; erasing is from
Zhong et al. 2017, "Random Erasing Data Augmentation".
"""

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

SIZE = 28
WHITE = 255.0


@dataclass(frozen=True)
class Augmentation:
    """How far a digit may be bent. Each amount is drawn evenly between its negative and itself, a picture."""

    rotation: float  # degrees
    scale: float  # as a share: 0.15 is 0.87 to 1.15 of the size
    shear: float  # pixels of slant a pixel of height
    shift: float  # pixels
    elastic: float  # pixels, the standard deviation of a control point's shift
    elastic_grid: int  # control points along a side
    erase: float  # share of the pictures with a square taken out
    erase_size: int  # pixels, the side of that square
    stroke: float = 0.0  # pixels that a stroke's edge moves out or in


def augment(images: Tensor, config: Augmentation, generator: Generator, strength: float = 1.0) -> Tensor:
    """Bend ``uint8 (N, 28, 28)`` into ``float32 (N, 28, 28)``, still on the scale 0 to 255.

    ``strength`` in [0, 1] scales every amount; at 0 the pictures come back as they are. All randomness is the
    generator's, which must live where the pictures do.
    """
    x = images.float()
    if strength == 0.0:
        return x
    grid = affine_grid(len(x), config, generator, strength, x.device)
    if config.elastic:
        grid = grid + elastic_field(len(x), config, generator, strength, x.device)
    x = F.grid_sample(x.unsqueeze(1), grid, mode="bilinear", padding_mode="zeros", align_corners=False).squeeze(1)
    if config.stroke:
        x = thicken(x, config, generator, strength)
    return erase(x, config, generator, strength) if config.erase else x


def affine_grid(
    count: int, config: Augmentation, generator: Generator, strength: float, device: torch.device
) -> Tensor:
    """Draw one affine map a picture, as the places to sample from: ``(N, 28, 28, 2)`` in [-1, 1]."""
    # (5, N): rotation, two scales, shear, in [-1, 1] times strength; then two shifts.
    unit = (torch.rand(6, count, generator=generator, device=device) * 2 - 1) * strength
    angle = unit[0] * (config.rotation * torch.pi / 180)
    spread = torch.log(torch.tensor(1 + config.scale))
    scale_x, scale_y = torch.exp(unit[1] * spread), torch.exp(unit[2] * spread)
    shear = unit[3] * config.shear
    shift = unit[4:6] * (config.shift * 2 / SIZE)
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack(
        [
            torch.stack([cos * scale_x, (shear * cos - sin) * scale_x, shift[0]], dim=1),
            torch.stack([sin * scale_y, (shear * sin + cos) * scale_y, shift[1]], dim=1),
        ],
        dim=1,
    )  # (N, 2, 3)
    return F.affine_grid(theta, [count, 1, SIZE, SIZE], align_corners=False)


def elastic_field(
    count: int, config: Augmentation, generator: Generator, strength: float, device: torch.device
) -> Tensor:
    """Draw one smooth displacement field a picture: ``(N, 28, 28, 2)``, to be added to a sampling grid."""
    points = config.elastic_grid
    shifts = torch.randn(count, 2, points, points, generator=generator, device=device)
    shifts = shifts * (strength * config.elastic * 2 / SIZE)
    along = interpolation(points, device)  # (28, points)
    return (along @ shifts @ along.T).permute(0, 2, 3, 1)


def uniform(shape: tuple[int, ...], low: float, high: float, generator: Generator, device: torch.device) -> Tensor:
    return torch.rand(shape, generator=generator, device=device) * (high - low) + low


@cache
def interpolation(points: int, device: torch.device) -> Tensor:
    """The matrix ``(28, points)`` that spreads control points over pixels: bicubic, as two products of it with a
    field are, and several times faster than torch's own resizing of many small fields."""
    each = torch.eye(points, device=device)[:, None, :, None].expand(points, 1, points, points)
    return F.interpolate(each, (SIZE, points), mode="bicubic", align_corners=True)[:, 0, :, 0].T.contiguous()


def thicken(images: Tensor, config: Augmentation, generator: Generator, strength: float) -> Tensor:
    """Make strokes thicker or thinner: move towards the lightest, or the darkest, of each pixel and its neighbours."""
    padded = F.pad(images, (1, 1, 1, 1))
    inner = slice(1, SIZE + 1)
    around = [padded[:, :-2, inner], padded[:, 2:, inner], padded[:, inner, :-2], padded[:, inner, 2:]]
    thick, thin = images, images
    for shifted in around:
        thick, thin = torch.maximum(thick, shifted), torch.minimum(thin, shifted)
    amount = torch.rand(len(images), 1, 1, generator=generator, device=images.device) * 2 - 1
    amount = amount * config.stroke * strength
    return torch.lerp(images, torch.where(amount > 0, thick, thin), amount.abs())


def erase(images: Tensor, config: Augmentation, generator: Generator, strength: float) -> Tensor:
    """Blacken one square in a share of the pictures."""
    count, device = len(images), images.device
    chosen = torch.rand(count, 1, 1, generator=generator, device=device) < config.erase * strength
    corner = torch.randint(0, SIZE - config.erase_size + 1, (2, count, 1), generator=generator, device=device)
    line = torch.arange(SIZE, device=device)
    rows = (line >= corner[0]) & (line < corner[0] + config.erase_size)  # (N, 28)
    columns = (line >= corner[1]) & (line < corner[1] + config.erase_size)
    return images.masked_fill(chosen & rows[:, :, None] & columns[:, None, :], 0.0)
