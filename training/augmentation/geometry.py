"""Distorts batches of digits: one resampling for affine and elastic distortion, then stroke width and erasing.

All functions work on whole batches of tensors, on any device. Elastic distortion is from Simard et al. 2003, "Best
Practices for Convolutional Neural Networks"; erasing is from Zhong et al. 2017, "Random Erasing Data Augmentation".
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from app.imaging.digit_image import IMAGE_SIZE
from training.recipes import Augmentation

WHITE = 255.0


def augment(images: Tensor, config: Augmentation, generator: Generator, strength: float = 1.0) -> Tensor:
    """Distort ``uint8 (N, 28, 28)`` into ``float32 (N, 28, 28)``, on the same scale of 0 to 255.

    Args:
        generator: The only source of randomness. It must be on the device of the pictures.
        strength: Factor in [0, 1] for every amount. At 0, the pictures stay as they are.
    """
    x = images.float()
    if strength == 0.0:
        return x
    grid = draw_affine_grid(len(x), config, generator, strength, x.device)
    if config.elastic:
        grid = grid + draw_elastic_field(len(x), config, generator, strength, x.device)
    x = F.grid_sample(x.unsqueeze(1), grid, mode="bilinear", padding_mode="zeros", align_corners=False).squeeze(1)
    if config.stroke:
        x = change_stroke_width(x, config, generator, strength)
    return erase_squares(x, config, generator, strength) if config.erase else x


def draw_affine_grid(
    count: int, config: Augmentation, generator: Generator, strength: float, device: torch.device
) -> Tensor:
    """Draw one affine map per picture. Return the places to sample from: ``(N, 28, 28, 2)`` in [-1, 1]."""
    # (6, N): rotation, two scales, shear, two shifts; each in [-1, 1] times strength.
    unit = (torch.rand(6, count, generator=generator, device=device) * 2 - 1) * strength
    angle = unit[0] * (config.rotation * torch.pi / 180)
    log_scale = torch.log(torch.tensor(1 + config.scale))
    scale_x, scale_y = torch.exp(unit[1] * log_scale), torch.exp(unit[2] * log_scale)
    shear = unit[3] * config.shear
    shift = unit[4:6] * (config.shift * 2 / IMAGE_SIZE)
    cos, sin = torch.cos(angle), torch.sin(angle)
    theta = torch.stack(
        [
            torch.stack([cos * scale_x, (shear * cos - sin) * scale_x, shift[0]], dim=1),
            torch.stack([sin * scale_y, (shear * sin + cos) * scale_y, shift[1]], dim=1),
        ],
        dim=1,
    )  # (N, 2, 3)
    return F.affine_grid(theta, [count, 1, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)


def draw_elastic_field(
    count: int, config: Augmentation, generator: Generator, strength: float, device: torch.device
) -> Tensor:
    """Draw one smooth displacement field per picture, ``(N, 28, 28, 2)``, to add to a sampling grid."""
    points = config.elastic_grid
    shifts = torch.randn(count, 2, points, points, generator=generator, device=device)
    shifts = shifts * (strength * config.elastic * 2 / IMAGE_SIZE)
    matrix = interpolation_matrix(points, device)  # (28, points)
    return (matrix @ shifts @ matrix.T).permute(0, 2, 3, 1)


def draw_uniform(shape: tuple[int, ...], low: float, high: float, generator: Generator, device: torch.device) -> Tensor:
    """Draw a tensor of this shape, uniformly between ``low`` and ``high``."""
    return torch.rand(shape, generator=generator, device=device) * (high - low) + low


@cache
def interpolation_matrix(points: int, device: torch.device) -> Tensor:
    """Return the matrix ``(28, points)`` that interpolates control points to pixels, bicubically.

    Two products with this matrix resize a field. For many small fields, this is several times faster than torch's
    own resizing.
    """
    unit = torch.eye(points, device=device)[:, None, :, None].expand(points, 1, points, points)
    return F.interpolate(unit, (IMAGE_SIZE, points), mode="bicubic", align_corners=True)[:, 0, :, 0].T.contiguous()


def change_stroke_width(images: Tensor, config: Augmentation, generator: Generator, strength: float) -> Tensor:
    """Make strokes thicker or thinner: blend with the lightest or the darkest of each pixel and its neighbours."""
    padded = F.pad(images, (1, 1, 1, 1))
    inner = slice(1, IMAGE_SIZE + 1)
    neighbours = [padded[:, :-2, inner], padded[:, 2:, inner], padded[:, inner, :-2], padded[:, inner, 2:]]
    thick, thin = images, images
    for neighbour in neighbours:
        thick, thin = torch.maximum(thick, neighbour), torch.minimum(thin, neighbour)
    amount = torch.rand(len(images), 1, 1, generator=generator, device=images.device) * 2 - 1
    amount = amount * config.stroke * strength
    return torch.lerp(images, torch.where(amount > 0, thick, thin), amount.abs())


def erase_squares(images: Tensor, config: Augmentation, generator: Generator, strength: float) -> Tensor:
    """Blacken one square in a share of the pictures."""
    count, device = len(images), images.device
    selected = torch.rand(count, 1, 1, generator=generator, device=device) < config.erase * strength
    corner = torch.randint(0, IMAGE_SIZE - config.erase_size + 1, (2, count, 1), generator=generator, device=device)
    index = torch.arange(IMAGE_SIZE, device=device)
    rows = (index >= corner[0]) & (index < corner[0] + config.erase_size)  # (N, 28)
    columns = (index >= corner[1]) & (index < corner[1] + config.erase_size)
    return images.masked_fill(selected & rows[:, :, None] & columns[:, None, :], 0.0)
