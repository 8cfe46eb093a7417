"""Draws strokes into batches of pictures, and fits drawn pictures as the service's normaliser does."""

import torch
import torch.nn.functional as F
from torch import Tensor

from app.imaging.digit_image import DIGIT_SIZE, IMAGE_SIZE
from training.augmentation.geometry import WHITE

CENTRE = (IMAGE_SIZE - 1) / 2  # pixels


def draw_points(points: Tensor, width: Tensor) -> Tensor:
    """Draw strokes.

    Args:
        points: ``(N, P, 2)``, along the strokes, in pixels.
        width: ``(N,)``, of the pen, in pixels.
    """
    index = torch.arange(IMAGE_SIZE, device=points.device, dtype=torch.float32)
    rows = (index.view(1, IMAGE_SIZE, 1) - points[:, None, :, 1]) ** 2  # (N, 28, P)
    columns = (index.view(1, IMAGE_SIZE, 1) - points[:, None, :, 0]) ** 2
    nearest = (rows[:, :, None, :] + columns[:, None, :, :]).amin(dim=3).sqrt()  # (N, 28, 28)
    return ((width.view(-1, 1, 1) / 2 + 0.7 - nearest) / 1.2).clamp(0, 1) * WHITE


def fit_and_centre(pictures: Tensor) -> Tensor:
    """Fit the ink into 20x20 and centre it by mass, as the service does with every picture that it cuts out."""
    count, device = len(pictures), pictures.device
    box = find_box(pictures > 0.3 * pictures.amax(dim=(1, 2), keepdim=True))
    zoom = (box[:, :, 1] - box[:, :, 0] + 1).amax(dim=0) / DIGIT_SIZE
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    theta[:, :, 2] = ((box.mean(dim=2) - CENTRE) * 2 / IMAGE_SIZE).T
    placed = resample(pictures, theta)
    offsets = torch.arange(IMAGE_SIZE, device=device, dtype=torch.float32) - CENTRE
    mass = placed.sum(dim=(1, 2)).clamp(min=1)
    off_centre = torch.stack([(placed.sum(dim=dim) * offsets).sum(dim=1) / mass for dim in (1, 2)], dim=1)  # (N, xy)
    shift = off_centre.round().clamp(-4, 4).long()  # a larger shift would leave the picture
    index = torch.arange(IMAGE_SIZE, device=device)
    rows = (index + shift[:, 1:]).remainder(IMAGE_SIZE)[:, :, None].expand(-1, -1, IMAGE_SIZE)
    columns = (index + shift[:, :1]).remainder(IMAGE_SIZE)[:, None, :].expand(-1, IMAGE_SIZE, -1)
    return placed.gather(1, rows).gather(2, columns).clamp(0, WHITE)


def find_box(is_ink: Tensor) -> Tensor:
    """Return the first and last column and the first and last row with ink: ``float32 (xy, N, first and last)``.

    Args:
        is_ink: ``bool (N, 28, 28)``.
    """
    ends = []
    for dim in (1, 2):  # x first
        line = is_ink.any(dim=dim).float()  # (N, 28)
        first, last = line.argmax(dim=1), IMAGE_SIZE - 1 - line.flip(1).argmax(dim=1)
        ends.append(torch.stack([first, last], dim=1).float())
    return torch.stack(ends)


def resample(pictures: Tensor, theta: Tensor) -> Tensor:
    """Resample pictures ``(N, 28, 28)`` by affine maps ``(N, 2, 3)``."""
    grid = F.affine_grid(theta, [len(pictures), 1, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    return F.grid_sample(pictures.unsqueeze(1), grid, align_corners=False).squeeze(1)
