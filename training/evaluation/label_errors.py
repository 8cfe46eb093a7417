"""Finds digits of MNIST's training split whose labels are probably wrong.

Each digit is read by a network that was not trained on it. A label that this network finds very improbable is suspect.
The idea is from Northcutt et al. 2021, "Confident Learning".
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from training.data.mnist import Digits, make_folds
from training.recipes import Recipe
from training.runs import Epoch
from training.trainer import fit, predict

MAX_PROBABILITY = 0.02  # of the label
FOLDS = 2


@dataclass(frozen=True)
class LabelError:
    """A digit whose label is probably wrong."""

    index: int  # among the digits that were searched
    label: int
    read: int
    probability: float  # of the label


def find_label_errors(
    digits: Digits, recipe: Recipe, device: torch.device, on_epoch: Callable[[int, Epoch], None]
) -> Iterator[LabelError]:
    """Train a recipe on each half of the digits, read the other half, and yield the digits with suspect labels.

    Args:
        on_epoch: Called with the half, 0 or 1, and the epoch.
    """
    for fold, (kept, left_out) in enumerate(make_folds(digits, FOLDS)):

        def report_epoch(epoch: Epoch, fold: int = fold) -> None:
            on_epoch(fold, epoch)

        run = fit(recipe, digits.take(kept), device=device, on_epoch=report_epoch)
        probabilities, _ = predict(run.network, digits.images[left_out])
        labels = digits.labels[left_out]
        of_label = probabilities.gather(1, labels.unsqueeze(1)).squeeze(1)
        for place in (of_label < MAX_PROBABILITY).nonzero().squeeze(1).tolist():
            yield LabelError(
                index=int(left_out[place]),
                label=int(labels[place]),
                read=int(probabilities[place].argmax()),
                probability=round(float(of_label[place]), 4),
            )
