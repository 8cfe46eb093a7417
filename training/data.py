"""MNIST, as tensors in memory, and the fixed ways in which its training split is divided.

Knows nothing of networks or recipes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold, train_test_split
from torch import Tensor
from torchvision.datasets import MNIST

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

# Digits of the test split whose label people do not agree with, by index.
DISPUTED = frozenset({947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729})


class DataError(Exception):
    """MNIST is neither on this machine nor to be had."""


@dataclass(frozen=True)
class Digits:
    """Pictures ``uint8 (N, 28, 28)`` and what they show, ``int64 (N,)``."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> "Digits":
        return Digits(self.images[index], self.labels[index])

    def to(self, device: torch.device) -> "Digits":
        return Digits(self.images.to(device), self.labels.to(device))


def load(data_dir: Path, split: Literal["train", "test"]) -> Digits:
    """Read one split of MNIST from ``data_dir/MNIST/raw``, fetching it first if it is not there.

    Raises:
        DataError: it is not there and cannot be fetched.
    """
    train = split == "train"
    try:
        mnist = MNIST(data_dir, train=train, download=False)
    except RuntimeError:  # torchvision's word for "not there"
        try:
            mnist = MNIST(data_dir, train=train, download=True)
        except Exception as error:  # whatever the network, the disk or a mirror raises, the remedy is the same
            folder = data_dir / "MNIST" / "raw"
            raise DataError(
                f"MNIST is not in {folder} and could not be downloaded ({type(error).__name__}: {error}). "
                f"Put these four files there (as they are or with .gz), or name their folder's grandparent "
                f"with --data-dir: {', '.join(FILES)}"
            ) from error
    return Digits(mnist.data, mnist.targets)


def hold_out(digits: Digits, count: int) -> tuple[Digits, Digits]:
    """Divide the training split into what is trained on and ``count`` digits that decide.

    Stratified, and the same for every recipe and seed, so that figures on the held-out digits can be compared.
    """
    kept, held = train_test_split(np.arange(len(digits)), test_size=count, stratify=digits.labels, random_state=0)
    return digits.take(torch.from_numpy(np.sort(kept))), digits.take(torch.from_numpy(np.sort(held)))


def folds(digits: Digits, count: int) -> list[tuple[Digits, Digits]]:
    """Divide digits for stratified K-fold cross-validation: ``count`` pairs of (train, validate)."""
    splitter = StratifiedKFold(count, shuffle=True, random_state=0)
    return [
        (digits.take(torch.from_numpy(train)), digits.take(torch.from_numpy(validate)))
        for train, validate in splitter.split(np.zeros(len(digits)), digits.labels)
    ]
