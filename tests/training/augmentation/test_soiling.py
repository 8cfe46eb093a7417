"""Soiling falls on its share of the pictures, keeps the scale, is repeatable, and does not hide the digit."""

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from tests.support.pictures import Grey
from training.augmentation.soiling import add_bands, add_blots, add_grain, add_grey_paper, add_lines, soil

KINDS = (add_lines, add_blots, add_bands, add_grey_paper, add_grain)


@pytest.fixture
def images(digits: list[tuple[int, Grey]]) -> Tensor:
    return torch.from_numpy(np.stack([image for _, image in digits])).float().repeat(10, 1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_soils_and_keeps_the_scale(kind: object, images: Tensor) -> None:
    """The result is within 0 to 255, changed in most pictures, and nearly always still resembles the digit."""
    assert callable(kind)
    soiled = kind(images, Generator().manual_seed(0))
    assert soiled.shape == images.shape
    assert soiled.min() >= 0
    assert soiled.max() <= 255.01
    assert ((soiled - images).abs().amax((1, 2)) > 1).float().mean() > 0.7
    alike = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(soiled.numpy(), images.numpy(), strict=True)]
    assert np.mean(np.array(alike) > 0.5) > 0.85


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_dirt_falls_on_its_share(share: float, images: Tensor) -> None:
    """With a share of 0, all pictures stay clean. With 0.3, five kinds leave about 0.7 to the fifth of them clean.

    The input does not change.
    """
    before = images.clone()
    soiled = soil(images, share, Generator().manual_seed(0))
    clean = ((soiled - images).abs().amax((1, 2)) < 0.5).float().mean()
    assert clean == pytest.approx((1 - share) ** 5, abs=0.1)
    assert torch.equal(images, before)


def test_only_the_generator_decides(images: Tensor) -> None:
    """The same seed soils in the same way, another seed in another way."""
    first, again, other = (soil(images, 0.3, Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_blots_are_one_to_three_pixels_wide() -> None:
    """On clean paper, some pictures have one blot alone: a full square of one, two or three pixels."""
    pictures = add_blots(torch.zeros(2_000, 28, 28), Generator().manual_seed(0)) > 0
    sides = [(int(each.any(dim=1).sum()), int(each.any(dim=0).sum()), int(each.sum())) for each in pictures]
    assert {high for high, wide, area in sides if area == high * wide and high == wide} == {0, 1, 2, 3}
