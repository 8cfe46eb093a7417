"""The digits of a recipe: those to train on, and those held out, by population.

A population is a group of writers. Models are chosen and calibrated on each population by itself, so that many digits
of one cannot hide errors on another.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.data import mnist, swiss
from training.data.mnist import Digits
from training.errors import DataError
from training.recipes import Recipe

FULL_POPULATION = 500  # digits; chance decides too much in a smaller population, so it counts for less
LABEL_ERRORS = Path(__file__).parent / "label_errors.csv"


@dataclass(frozen=True)
class HeldOut:
    """Held-out digits of one or more populations."""

    by_population: Mapping[str, Digits]

    def __len__(self) -> int:
        return len(self.digits)

    @cached_property
    def digits(self) -> Digits:
        """All digits, one population after the other."""
        return join(*self.by_population.values())

    @cached_property
    def population(self) -> NDArray[np.int64]:
        """The number of each digit's population, ``(N,)``."""
        sizes = [len(digits) for digits in self.by_population.values()]
        return np.repeat(np.arange(len(sizes)), sizes)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """The weight of each digit, ``(N,)``. They add up to 1.

        All populations of ``FULL_POPULATION`` digits or more count the same. A smaller one, such as a person's own
        digits, counts in proportion to its size.
        """
        sizes = np.bincount(self.population)
        counts = np.minimum(sizes, FULL_POPULATION)
        weights: NDArray[np.float64] = (counts / sizes / counts.sum())[self.population]
        return weights


def load_training(recipe: Recipe, data_dir: Path) -> Digits:
    """Load the digits that a recipe trains on, in random order: the first of them also set the ranges of int8.

    Raises:
        DataError: A data set is missing.
    """
    parts = [swiss.load(data_dir, swiss.TRAINING_WRITERS)] * recipe.swiss if recipe.swiss else []
    digits = mnist.load(data_dir, "train")
    kept, _ = mnist.split_indices(digits, recipe.hold_out)
    if recipe.drops_label_errors:
        kept = kept[~torch.isin(kept, torch.tensor(read_label_errors()))]
    training = join(digits.take(kept), *parts)
    return training.take(torch.randperm(len(training), generator=torch.Generator().manual_seed(0)))


def load_held_out(recipe: Recipe, data_dir: Path) -> HeldOut | None:
    """Load the digits that a recipe holds out, if any: of MNIST, and of the Swiss writers if it trains on others.

    Raises:
        DataError: A data set is missing.
    """
    if not recipe.hold_out:
        return None
    _, held = mnist.hold_out(mnist.load(data_dir, "train"), recipe.hold_out)
    populations = {"mnist": held}
    if recipe.swiss:
        populations["swiss"] = swiss.load(data_dir, swiss.HELD_OUT_WRITERS)
    return HeldOut(populations)


def load_for_recipe(recipe: Recipe, data_dir: Path) -> tuple[Digits, HeldOut | None]:
    """Load the digits that a recipe trains on, and those that it holds out, if any.

    Raises:
        DataError: A data set is missing.
    """
    return load_training(recipe, data_dir), load_held_out(recipe, data_dir)


def load_with_held_out(recipe: Recipe, data_dir: Path) -> tuple[Digits, HeldOut]:
    """Do the same for a command that needs held-out digits.

    Raises:
        DataError: The recipe holds out no digits, or a data set is missing.
    """
    return load_training(recipe, data_dir), require_held_out(recipe, data_dir)


def require_held_out(recipe: Recipe, data_dir: Path) -> HeldOut:
    """Load the digits that a recipe holds out.

    Raises:
        DataError: The recipe holds out no digits, or a data set is missing.
    """
    held_out = load_held_out(recipe, data_dir)
    if held_out is None:
        raise DataError(f"This command needs held-out digits, but the recipe {recipe.name} holds out none.")
    return held_out


def join(*parts: Digits) -> Digits:
    """Join sets of digits."""
    return Digits(torch.cat([digits.images for digits in parts]), torch.cat([digits.labels for digits in parts]))


def read_label_errors() -> list[int]:
    """Return the indices of digits in MNIST's training split whose labels are probably wrong.

    ``python -m training label-errors`` found them.
    """
    with LABEL_ERRORS.open(newline="") as file:
        return [int(row["index"]) for row in csv.DictReader(file)]
