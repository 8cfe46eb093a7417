"""Batches for training: the digits of an epoch, with what the recipe adds to them, their targets, and their loss."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from app.inference.networks import DIGITS, Network
from training.augmentation.geometry import augment
from training.augmentation.letters import draw_letters
from training.augmentation.outliers import make_outliers
from training.augmentation.soiling import blur, soil
from training.augmentation.variants import make_variants
from training.data.mnist import Digits
from training.recipes import Recipe

BATCHES_AT_ONCE = 16  # are prepared together: it takes 1,500 small operations, whose start costs more than their work


def iterate_batches(
    digits: Digits, recipe: Recipe, step: int, steps: int, generator: Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of an epoch: all digits once, in a new order, with what the recipe adds to them.

    Args:
        step: The number of the first batch in the run, from 0.
        steps: The number of batches in the run.

    Yields:
        Pictures and targets as ``prepare`` makes them.
    """
    device = digits.labels.device
    order = torch.randperm(len(digits), generator=generator, device=device)
    for index in order.split(recipe.batch * BATCHES_AT_ONCE):
        strength = schedule_strength(recipe, step / steps)
        pictures, targets = prepare(digits.images[index], digits.labels[index], recipe, strength, generator)
        mixed = torch.randperm(len(pictures), generator=generator, device=device)
        batches = mixed.tensor_split(math.ceil(len(index) / recipe.batch))
        for batch in batches:
            yield pictures[batch], targets[batch]
        step += len(batches)


def prepare(
    images: Tensor, labels: Tensor, recipe: Recipe, strength: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Add the recipe's variants and outliers after the digits, then augment and soil all pictures.

    Returns:
        Pictures ``float32 (N, 28, 28)``, and targets ``float32 (N, 11)``: the probability of each digit, and last that
        of "anything else".
    """
    pictures, targets = images.float(), F.one_hot(labels, DIGITS + 1).float()
    # Both come before augmentation: they must not be recognisable by a lack of resampling. A few digits may be too
    # few for any.
    if count := round(len(labels) * recipe.variants):
        variants, their_targets = make_variants(images, labels, count, generator)
        pictures, targets = torch.cat([pictures, variants]), torch.cat([targets, their_targets])
    outliers = []
    if count := round(len(labels) * recipe.junk):
        outliers.append(make_outliers(images, labels, count, generator))
    if count := round(len(labels) * recipe.letters):
        outliers.append(draw_letters(count, generator))
    if outliers:
        pictures = torch.cat([pictures, *outliers])
        anything_else = F.one_hot(torch.full((len(pictures) - len(targets),), DIGITS, device=labels.device), DIGITS + 1)
        targets = torch.cat([targets, anything_else.float()])
    if recipe.augmentation:
        pictures = augment(pictures, recipe.augmentation, generator, strength)
    if recipe.blur:
        pictures = blur(pictures, recipe.blur * strength, generator)
    if recipe.dirt:
        pictures = soil(pictures, recipe.dirt * strength, generator)
    return pictures, targets


def schedule_strength(recipe: Recipe, progress: float) -> float:
    """Return the strength of augmentation and soiling at ``progress`` in [0, 1] of the run.

    It is 1, and falls to 0 over the last ``ease`` of the run.
    """
    if recipe.ease == 0.0:
        return 1.0
    return min(1.0, (1.0 - progress) / recipe.ease)


@torch.no_grad()
def ask_teacher(teacher: Network, pictures: Tensor) -> Tensor:
    """Return the probabilities ``(N, 11)`` of a network. Distillation is from Hinton et al. 2015."""
    return teacher.logits(pictures).float().softmax(dim=1)


def compute_loss(logits: Tensor, targets: Tensor, network: Network, recipe: Recipe) -> Tensor:
    """Return the loss of a batch. Without outliers, the output for "anything else" is not trained."""
    outputs = DIGITS + 1 if recipe.junk or recipe.letters else DIGITS
    loss = F.cross_entropy(logits[:, :outputs], targets[:, :outputs])
    if recipe.l1:
        loss = loss + recipe.l1 * sum(p.abs().sum() for p in network.parameters() if p.ndim > 1)
    return loss
