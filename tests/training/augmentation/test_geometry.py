"""Augmentation stays within its bounds, is repeatable, works on batches, and does nothing at strength 0."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.pictures import Grey
from training.augmentation.geometry import augment
from training.recipes import Augmentation

NONE = Augmentation(rotation=0, scale=0, shear=0, shift=0, elastic=0, elastic_grid=7, erase=0, erase_size=5)
ALL = Augmentation(rotation=15, scale=0.15, shear=0.2, shift=2, elastic=0.8, elastic_grid=7, erase=0.5, erase_size=5)


@pytest.fixture
def images(digits: list[tuple[int, Grey]]) -> Tensor:
    return torch.from_numpy(np.stack([image for _, image in digits]))


def distort(images: Tensor, config: Augmentation, strength: float = 1.0, seed: int = 0) -> Tensor:
    return augment(images, config, torch.Generator().manual_seed(seed), strength)


def find_centres(images: Tensor) -> Tensor:
    """Return the centres of mass, (N, 2)."""
    weight = images / images.sum((1, 2), keepdim=True)
    line = torch.arange(28.0)
    return torch.stack([(weight.sum(2) * line).sum(1), (weight.sum(1) * line).sum(1)], dim=1)


def test_no_amounts_change_nothing(images: Tensor) -> None:
    """With amounts of zero, or a strength of zero, the pictures stay as they are."""
    torch.testing.assert_close(distort(images, NONE), images.float(), atol=0.01, rtol=0)
    torch.testing.assert_close(distort(images, ALL, strength=0.0), images.float())


def test_the_result_is_on_the_same_scale(images: Tensor) -> None:
    """The result is float32 (N, 28, 28), from 0 to 255, and differs from the input."""
    distorted = distort(images, ALL)
    assert (distorted.shape, distorted.dtype) == (images.shape, torch.float32)
    assert distorted.min() >= 0
    assert distorted.max() <= 255.01  # resampling may round up, depending on the CPU
    assert (distorted - images).abs().mean() > 5


def test_only_the_generator_decides(images: Tensor) -> None:
    """The same seed distorts in the same way, another seed in another, and each picture of a batch differently."""
    torch.testing.assert_close(distort(images, ALL, seed=1), distort(images, ALL, seed=1))
    assert (distort(images, ALL, seed=1) - distort(images, ALL, seed=2)).abs().mean() > 5
    same = images[:1].expand(8, 28, 28)
    distorted = distort(same, ALL)
    assert all((distorted[0] - other).abs().mean() > 1 for other in distorted[1:])


def test_a_shift_stays_within_its_bound(images: Tensor) -> None:
    """Centres of mass move by up to 2 pixels in each direction, and some by more than 1."""
    moved = (find_centres(distort(images, replace(NONE, shift=2))) - find_centres(images.float())).abs()
    assert moved.max() <= 2.01
    assert moved.max() > 1


def test_a_rotation_keeps_the_centre_of_the_picture(images: Tensor) -> None:
    """A disc in the middle looks the same after a rotation."""
    line = torch.arange(28.0) - 13.5
    disc = (255 * ((line[:, None] ** 2 + line**2) < 64)).float().to(torch.uint8)[None].expand(4, 28, 28)
    assert (distort(disc, replace(NONE, rotation=30)) - disc).abs().mean() < 4


def test_a_scale_changes_the_ink_by_its_square(images: Tensor) -> None:
    """The amount of ink changes by up to 1.15^2, both ways."""
    ratio = distort(images, replace(NONE, scale=0.15)).sum((1, 2)) / images.float().sum((1, 2))
    assert ratio.max() < 1.15**2 * 1.05
    assert ratio.min() > 1 / 1.15**2 / 1.05
    assert ratio.std() > 0.02


def test_erasing_blackens_a_square_in_its_share_of_pictures() -> None:
    """About half of the pictures lose exactly 25 pixels. With a lower strength, fewer pictures do."""
    white = torch.full((400, 28, 28), 255, dtype=torch.uint8)
    lost = (distort(white, replace(NONE, erase=0.5, erase_size=5)) < 1).sum((1, 2))
    interior = lost[lost > 0]
    assert 150 < len(interior) < 250
    assert (interior == 25).all()
    assert 60 < ((distort(white, replace(NONE, erase=0.5, erase_size=5), 0.5) < 1).sum((1, 2)) > 0).sum() < 140
