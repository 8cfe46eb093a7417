"""Outliers keep the scale, come in every kind, are repeatable, and do not show a digit."""

import numpy as np
import pytest
import torch
from torch import Generator

from tests.support.pictures import Grey
from training.augmentation.outliers import KINDS, NO_DIGIT_WHEN_TURNED, Kind, make_outliers, turn_digits
from training.data.mnist import Digits


@pytest.fixture
def parts(digits: list[tuple[int, Grey]]) -> Digits:
    images = torch.from_numpy(np.stack([image for _, image in digits]))
    return Digits(images, torch.tensor([digit for digit, _ in digits]))


@pytest.mark.parametrize("kind", dict.fromkeys(KINDS))
def test_each_kind_makes_the_number_of_pictures_asked_for(kind: Kind, parts: Digits) -> None:
    """The pictures are on the scale 0 to 255, and hardly two are alike."""
    made = kind(Digits(parts.images.float(), parts.labels), 30, Generator().manual_seed(0))
    assert made.shape == (30, 28, 28)
    assert made.min() >= 0
    assert made.max() <= 255
    assert len({picture.numpy().tobytes() for picture in made}) >= 15


def test_turned_digits_are_never_those_that_stay_digits(parts: Digits) -> None:
    """No 0 or 8 is used, and no 6 or 9 is turned upside down."""
    made = turn_digits(Digits(parts.images.float(), parts.labels), 200, Generator().manual_seed(0))
    upright = {image.float().numpy().tobytes() for image in parts.images}
    upside_down = {
        torch.rot90(i, 2).float().numpy().tobytes() for i, d in zip(*vars(parts).values(), strict=True) if d in (6, 9)
    }
    assert not {picture.numpy().tobytes() for picture in made} & (upright | upside_down)
    assert not {0, 8} & set(NO_DIGIT_WHEN_TURNED)


def test_only_the_generator_decides(parts: Digits) -> None:
    """The same seed makes the same outliers, another seed makes others. Any count works."""
    first, again, other = (
        make_outliers(parts.images, parts.labels, 16, Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(make_outliers(parts.images, parts.labels, 1, Generator().manual_seed(0))) == 1
