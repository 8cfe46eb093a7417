"""Soils batches of digits: lines, blots, bands at the edges, grey or uneven paper, grain. Blurs them.

Users send pictures that are less clean than MNIST. A network that has only seen clean paper reads a stray line as part
of the digit. Each kind of dirt falls on its share of the pictures, independently of the other kinds. All functions
work on whole batches, on any device.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from app.imaging.digit_image import IMAGE_SIZE
from training.augmentation.geometry import WHITE, draw_uniform, interpolation_matrix

MAX_BLUR = 1.5  # pixels, the standard deviation of the Gaussian
BLUR_REACH = 4  # pixels


def soil(images: Tensor, share: float, generator: Generator) -> Tensor:
    """Soil a copy of ``float32 (N, 28, 28)``, on the scale 0 to 255.

    Args:
        share: Share of the pictures that each kind of dirt falls on.
    """
    images = images.clone()
    for add_dirt in (add_lines, add_blots, add_bands, add_grey_paper, add_grain):
        selected = select_share(images, share, generator)
        images[selected] = add_dirt(images[selected], generator)
    return images


def select_share(images: Tensor, share: float, generator: Generator) -> Tensor:
    """Select each picture with this probability. Return the indices of those that are selected."""
    return (torch.rand(len(images), generator=generator, device=images.device) < share).nonzero().squeeze(1)


def blur(images: Tensor, share: float, generator: Generator) -> Tensor:
    """Put a share of the pictures ``float32 (N, 28, 28)`` out of focus: a Gaussian of up to ``MAX_BLUR`` pixels."""
    images = images.clone()
    selected = select_share(images, share, generator)
    count = len(selected)
    if not count:
        return images
    distance = torch.arange(-BLUR_REACH, BLUR_REACH + 1, device=images.device, dtype=torch.float32)
    sigma = draw_uniform((count, 1), 0.3, MAX_BLUR, generator, images.device)
    kernel = torch.exp(-((distance / sigma) ** 2) / 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).view(count, 1, 1, -1)
    pictures = images[selected].unsqueeze(0)  # each picture is a channel, so that each has its own kernel
    pictures = F.conv2d(pictures, kernel, padding=(0, BLUR_REACH), groups=count)
    pictures = F.conv2d(pictures, kernel.transpose(2, 3), padding=(BLUR_REACH, 0), groups=count)
    images[selected] = pictures.squeeze(0)
    return images


def add_lines(images: Tensor, generator: Generator) -> Tensor:
    """Draw a thin wavy or straight line from side to side or from top to bottom, over or beside the digit."""
    count = len(images)
    position = torch.linspace(0, 1, IMAGE_SIZE, device=images.device)
    start, end = (draw_uniform((count, 1), -2, IMAGE_SIZE + 1, generator, images.device) for _ in range(2))
    height = draw_uniform((count, 1), -4, 4, generator, images.device)
    waves = draw_uniform((count, 1), 0, 5, generator, images.device)
    centre = start * (1 - position) + end * position + height * torch.sin(waves * position * 2 * torch.pi)  # (N, 28)
    width = draw_uniform((count, 1, 1), 0.4, 1.0, generator, images.device)
    rows = torch.arange(IMAGE_SIZE, device=images.device).view(1, IMAGE_SIZE, 1)
    ink = torch.exp(-(((rows - centre.unsqueeze(1)) / width) ** 2)) * draw_uniform(
        (count, 1, 1), 0.3, 1, generator, images.device
    )
    vertical = torch.rand(count, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.maximum(images, torch.where(vertical, ink.transpose(1, 2), ink) * WHITE)


def add_blots(images: Tensor, generator: Generator) -> Tensor:
    """Add a few specks of ink, one to three pixels wide."""
    density = draw_uniform((len(images), 1, 1), 0, 10 / IMAGE_SIZE**2, generator, images.device)
    specks = (torch.rand(images.shape, generator=generator, device=images.device) < density).float()
    pairs = F.max_pool2d(specks.unsqueeze(1), 2, stride=1, padding=1).squeeze(1)[:, :IMAGE_SIZE, :IMAGE_SIZE]
    triples = F.max_pool2d(specks.unsqueeze(1), 3, stride=1, padding=1).squeeze(1)
    width = torch.randint(1, 4, (len(images), 1, 1), generator=generator, device=images.device)
    blots = torch.where(width == 1, specks, torch.where(width == 2, pairs, triples))
    return torch.maximum(images, blots * WHITE)


def add_bands(images: Tensor, generator: Generator) -> Tensor:
    """Add a lighter band along one or two opposite edges, like the border of a form field or the edge of a shadow."""
    depth = draw_uniform((len(images), 1, 1), 1, 6, generator, images.device)
    level = draw_uniform((len(images), 1, 1), 0.2, 1, generator, images.device) * WHITE
    column = torch.arange(IMAGE_SIZE, device=images.device).view(1, 1, IMAGE_SIZE)
    left, right = (torch.rand(len(images), 1, 1, generator=generator, device=images.device) < 0.7 for _ in range(2))
    inside = ((column < depth) & left) | ((column >= IMAGE_SIZE - depth) & right)
    inside = inside.expand(-1, IMAGE_SIZE, -1)
    horizontal = torch.rand(len(images), 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(torch.where(horizontal, inside.transpose(1, 2), inside), level, images)


def add_grey_paper(images: Tensor, generator: Generator) -> Tensor:
    """Make the paper grey, evenly or in clouds, and the ink faint."""
    matrix = interpolation_matrix(4, images.device)
    clouds = matrix @ torch.rand(len(images), 4, 4, generator=generator, device=images.device) @ matrix.T
    even = torch.rand(len(images), 1, 1, generator=generator, device=images.device)
    cloudiness = torch.rand(len(images), 1, 1, generator=generator, device=images.device)
    paper = (clouds * cloudiness + even * (1 - cloudiness)).clamp(0, 1) * 140
    ink_strength = draw_uniform((len(images), 1, 1), 0.6, 1, generator, images.device)
    return paper + images * ink_strength * (WHITE - paper) / WHITE


def add_grain(images: Tensor, generator: Generator) -> Tensor:
    """Add noise of up to 30 grey levels."""
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + noise * draw_uniform((len(images), 1, 1), 0, 30, generator, images.device)).clamp(0, WHITE)
