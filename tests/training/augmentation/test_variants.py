"""Variants look like pictures from the service, their targets name what they show, and only the generator decides."""

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from app.imaging.digit_image import DIGIT_SIZE
from app.inference.engines import Engine
from app.inference.networks import DIGITS
from tests.support.pictures import Grey
from training.augmentation import variants
from training.augmentation.variants import KINDS, Kind, draw_doubtful_ones, make_variants
from training.data.mnist import Digits

COUNT = 60


@pytest.fixture
def golden(digits: list[tuple[int, Grey]]) -> Digits:
    """Twenty digits, two of each class."""
    images = np.stack([image for _, image in digits])
    return Digits(torch.from_numpy(images).float(), torch.tensor([digit for digit, _ in digits]))


def make(kind: Kind, digits: Digits) -> Tensor:
    return kind(digits, COUNT, Generator().manual_seed(0))


kinds = pytest.mark.parametrize("kind", dict(KINDS))


@kinds
def test_each_kind_makes_pictures_on_the_scale_of_digits(kind: Kind, golden: Digits) -> None:
    """They are float32 (N, 28, 28) from 0 to 255, with light ink, and hardly two are alike."""
    made = make(kind, golden)
    assert (made.shape, made.dtype) == ((COUNT, 28, 28), torch.float32)
    assert made.min() >= 0
    assert made.max() <= 255
    assert made.amax(dim=(1, 2)).min() > 150
    assert len({picture.numpy().tobytes() for picture in made}) > 0.9 * COUNT


def measure_longer_side(pictures: Tensor, level: float) -> Tensor:
    """Return the longer side of each picture's ink ``(N,)``, from this share of its strongest pixel."""
    is_ink = pictures > level * pictures.amax(dim=(1, 2), keepdim=True)
    lines = [is_ink.any(dim=dim).long() for dim in (1, 2)]  # (N, 28) each
    return torch.maximum(*(28 - line.argmax(dim=1) - line.flip(1).argmax(dim=1) for line in lines))


@kinds
def test_ink_is_fitted_and_centred_as_the_service_does(kind: Kind, golden: Digits) -> None:
    """It fits into 20x20, nearly fills that in one direction, and its centre of mass is in the middle."""
    made = make(kind, golden)
    for dim in (1, 2):
        mass = made.sum(dim=dim)
        centre = (mass * torch.arange(28.0)).sum(dim=1) / mass.sum(dim=1)
        assert (centre - 13.5).abs().max() < 1.5
    assert measure_longer_side(made, level=0.5).max() <= DIGIT_SIZE
    assert measure_longer_side(made, level=0.2).min() >= DIGIT_SIZE - 3  # some digits end in faint ink


@pytest.mark.parametrize(("kind", "classes"), KINDS)
def test_a_variant_is_read_as_one_of_its_classes(
    kind: Kind, classes: tuple[int, ...], golden: Digits, engine: Engine
) -> None:
    """The released model reads at least 70 % so. No kind turns a digit into another one."""
    read = engine(make(kind, golden).round().to(torch.uint8).numpy()).probabilities.argmax(axis=1)
    assert np.isin(read, classes).mean() >= 0.7


@kinds
def test_a_batch_without_the_digit_is_no_error(kind: Kind, golden: Digits) -> None:
    """A batch may lack a class by chance. Then the pictures are still finite and on the scale."""
    made = make(kind, golden.take(golden.labels == 5))
    assert made.shape == (COUNT, 28, 28)
    assert made.isfinite().all()
    assert made.min() >= 0
    assert made.max() <= 255


def test_targets_are_probabilities(golden: Digits) -> None:
    """Each adds up to 1, the kinds are equally likely, and nothing is "anything else"."""
    pictures, targets = make_variants(golden.images, golden.labels, 400, Generator().manual_seed(0))
    assert (pictures.shape, targets.shape) == ((400, 28, 28), (400, DIGITS + 1))
    assert (pictures.dtype, targets.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(400))
    assert targets[:, DIGITS].max() == 0
    for _, classes in KINDS:
        kinds_alike = sum(other == classes for _, other in KINDS)
        is_so = (targets[:, list(classes)] == 1 / len(classes)).all(dim=1)
        assert is_so.float().mean() == pytest.approx(kinds_alike / len(KINDS), abs=0.06)


def test_a_doubtful_one_is_half_a_one_and_half_a_seven(golden: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long, flat upstroke without a bar is a 1 to some people and a 7 to others."""
    monkeypatch.setattr(variants, "KINDS", tuple(pair for pair in KINDS if pair[0] is draw_doubtful_ones))
    _, targets = make_variants(golden.images, golden.labels, 5, Generator().manual_seed(0))
    expected = torch.zeros(5, DIGITS + 1)
    expected[:, [1, 7]] = 0.5
    torch.testing.assert_close(targets, expected)


def test_a_target_belongs_to_its_picture(golden: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """With kinds that paint pictures in the grey level of their class, level and target agree in every picture."""

    def paint(level: int) -> Kind:
        return lambda digits, count, generator: torch.full((count, 28, 28), float(level))

    monkeypatch.setattr(variants, "KINDS", tuple((paint(digit), (digit,)) for digit in (8, 2, 5)))
    pictures, targets = make_variants(golden.images, golden.labels, 50, Generator().manual_seed(0))
    assert set(targets.argmax(dim=1).tolist()) == {8, 2, 5}
    torch.testing.assert_close(pictures[:, 0, 0], targets.argmax(dim=1).float())


def test_only_the_generator_decides(golden: Digits) -> None:
    """The same seed makes the same variants, another seed makes others. Any count from 1 works."""
    first, again, other = (
        make_variants(golden.images, golden.labels, 16, Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert len(make_variants(golden.images, golden.labels, 1, Generator().manual_seed(0))[0]) == 1
