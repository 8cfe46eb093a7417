"""Loads MNIST into memory, and splits its training digits in fixed ways."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold, train_test_split
from torch import Tensor
from torchvision.datasets import MNIST

from training.errors import DataError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class Digits:
    """Pictures ``uint8 (N, 28, 28)`` and their labels ``int64 (N,)``."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> "Digits":
        """Return the digits at these indices."""
        return Digits(self.images[index], self.labels[index])

    def to(self, device: torch.device) -> "Digits":
        """Return the digits on a device."""
        return Digits(self.images.to(device), self.labels.to(device))


def load(data_dir: Path, split: Literal["train", "test"]) -> Digits:
    """Load one split of MNIST from ``data_dir/MNIST/raw``. Download it first if it is missing.

    Raises:
        DataError: It is missing and cannot be downloaded.
    """
    train = split == "train"
    try:
        mnist = MNIST(data_dir, train=train, download=False)
    except RuntimeError:  # torchvision raises this if the files are missing
        try:
            mnist = MNIST(data_dir, train=train, download=True)
        except Exception as error:  # the network, the disk and the mirror raise many types; the remedy is the same
            folder = data_dir / "MNIST" / "raw"
            with suppress(OSError):  # torchvision made these two; one that holds anything stays
                folder.rmdir()
                folder.parent.rmdir()
            raise DataError(
                f"MNIST is not in {folder} and could not be downloaded ({type(error).__name__}: {error}). "
                f"Put these four files into that folder, as they are or with .gz, or set --data-dir to the folder "
                f"that contains MNIST/raw: {', '.join(FILES)}"
            ) from error
    return Digits(mnist.data, mnist.targets)


def split_indices(digits: Digits, count: int) -> tuple[Tensor, Tensor]:
    """Return the indices of the digits to train on, and of ``count`` held-out digits. Both are sorted.

    The split is stratified, and the same for every recipe and seed. So figures on the held-out digits are comparable.
    """
    if not count:
        return torch.arange(len(digits)), torch.arange(0)
    kept, held = train_test_split(np.arange(len(digits)), test_size=count, stratify=digits.labels, random_state=0)
    return torch.from_numpy(np.sort(kept)), torch.from_numpy(np.sort(held))


def hold_out(digits: Digits, count: int) -> tuple[Digits, Digits]:
    """Split digits into those to train on and ``count`` held-out digits."""
    kept, held = split_indices(digits, count)
    return digits.take(kept), digits.take(held)


def make_folds(digits: Digits, count: int) -> list[tuple[Tensor, Tensor]]:
    """Split digits for stratified K-fold cross-validation, into ``count`` pairs of indices (train, validate)."""
    splitter = StratifiedKFold(count, shuffle=True, random_state=0)
    return [
        (torch.from_numpy(train), torch.from_numpy(validate))
        for train, validate in splitter.split(np.zeros(len(digits)), digits.labels)
    ]
