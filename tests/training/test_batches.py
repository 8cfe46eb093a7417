"""A batch: digits, variants and outliers, with a target for each picture. A teacher moves the targets."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from app.inference.networks import DIGITS, Network
from tests.support.small_training import vary
from training import batches, trainer
from training.augmentation.geometry import augment
from training.batches import compute_loss, iterate_batches, prepare
from training.data.mnist import Digits
from training.data.populations import HeldOut
from training.recipes import FAST
from training.trainer import fit, predict


@pytest.fixture
def digits(small_parts: tuple[Digits, HeldOut]) -> Digits:
    """800 digits to train on, made of twenty."""
    return small_parts[0]


@pytest.mark.training
def test_all_pictures_are_augmented_alike(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variants and outliers go through the same augmentation as the digits, so resampling gives none away."""
    counts: list[int] = []

    def count_and_augment(images: torch.Tensor, *arguments: Any) -> torch.Tensor:
        counts.append(len(images))
        return augment(images, *arguments)

    monkeypatch.setattr(batches, "augment", count_and_augment)
    run = fit(vary(epochs=1, junk=0.5, variants=0.25), digits, seed=0)
    assert sum(counts) == 1_400  # 800 digits, 200 variants and 400 outliers
    assert run.network.head.weight[10].abs().max() > 0  # the logit of "anything else" has learnt


def test_an_epoch_has_every_digit_once(digits: Digits) -> None:
    """In batches of 30, 800 digits are 27 batches. Each has its share of the outliers."""
    numbered = Digits(torch.arange(800).view(800, 1, 1).expand(800, 28, 28).to(torch.int16), digits.labels)
    recipe = vary(batch=30, junk=0.5, augmentation=None)
    batches = list(iterate_batches(numbered, recipe, 0, 27, torch.Generator().manual_seed(0)))
    assert len(batches) == 27
    sizes = [len(pictures) for pictures, _ in batches]
    assert (max(sizes), sum(sizes)) == (45, 1_200)
    pictures, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    is_digit = targets.argmax(1) < DIGITS
    assert pictures[is_digit][:, 0, 0].sort().values.tolist() == list(range(800))
    assert torch.equal(targets[is_digit].argmax(1), digits.labels[pictures[is_digit][:, 0, 0].long()])
    shares = [(batch.argmax(1) == DIGITS).float().mean() for _, batch in batches]
    assert 0.1 < min(shares) < max(shares) < 0.6


def test_each_picture_of_a_batch_has_its_target(digits: Digits) -> None:
    """First the digits with their labels, then variants, then outliers and letters, which are "anything else"."""
    images, labels = digits.images[:20], digits.labels[:20]
    recipe = vary(junk=0.3, letters=0.2, variants=0.25, augmentation=None)
    pictures, targets = prepare(images, labels, recipe, 1.0, torch.Generator().manual_seed(0))
    assert (pictures.shape, pictures.dtype) == ((35, 28, 28), torch.float32)
    assert torch.equal(pictures[:20], images.float())
    assert torch.equal(targets[:20], F.one_hot(labels, DIGITS + 1).float())
    torch.testing.assert_close(targets[20:25, :DIGITS].sum(dim=1), torch.ones(5))
    assert torch.equal(targets[25:], F.one_hot(torch.full((10,), DIGITS), DIGITS + 1).float())


@pytest.mark.parametrize("count", range(1, 6))
def test_a_batch_may_be_too_small_for_variants_and_outliers(count: int, digits: Digits) -> None:
    """The last batch of an epoch may have one digit. A tenth of that is no variant, and a fifth no outlier."""
    some = digits.take(torch.arange(count))
    recipe = vary(junk=FAST.junk, variants=FAST.variants)
    pictures, targets = prepare(some.images, some.labels, recipe, 1.0, torch.Generator().manual_seed(0))
    assert len(pictures) == len(targets) == count + round(0.2 * count)


@pytest.mark.training
def test_a_teacher_is_half_of_the_target(digits: Digits, threes: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a teacher that always says 3, each target is half its label and half a 3, for outliers as well."""
    targets: list[torch.Tensor] = []

    def record_and_compute(logits: torch.Tensor, target: torch.Tensor, *arguments: Any) -> torch.Tensor:
        targets.append(target)
        return compute_loss(logits, target, *arguments)

    monkeypatch.setattr(trainer, "compute_loss", record_and_compute)
    before = [value.clone() for value in threes.state_dict().values()]
    fit(vary(epochs=1, junk=0.2), digits, teacher=threes)
    found = torch.cat(targets)
    three = F.one_hot(torch.tensor(3), DIGITS + 1)
    others = 2 * found - three  # what is left for the labels
    torch.testing.assert_close(others.amax(dim=1), torch.ones(len(found)))
    torch.testing.assert_close(others.sum(dim=1), torch.ones(len(found)))
    counts = torch.bincount(others.argmax(dim=1), minlength=DIGITS + 1)
    assert counts.tolist() == [*torch.bincount(digits.labels).tolist(), 160]
    assert all(torch.equal(one, other) for one, other in zip(threes.state_dict().values(), before, strict=True))


@pytest.mark.training
def test_a_network_learns_from_its_teacher(small_parts: tuple[Digits, HeldOut], threes: Network) -> None:
    """Taught that every digit is also a 3, it gives half of the probability to that. Alone, it hardly gives any."""
    training, held_out = small_parts
    others = held_out.digits.take(held_out.digits.labels != 3)
    alone, taught = (
        float(predict(fit(vary(epochs=4), training, teacher=teacher).network, others.images)[0][:, 3].mean())
        for teacher in (None, threes)
    )
    assert alone < 0.1
    assert taught == pytest.approx(0.5, abs=0.15)
