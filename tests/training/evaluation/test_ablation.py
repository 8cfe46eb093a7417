"""The ablation study appends a row per variant and seed, and trains none twice."""

import csv
from itertools import islice
from pathlib import Path

import pytest
import torch

from tests.support.small_training import EARLY, vary
from training.data.mnist import Digits
from training.data.populations import HeldOut
from training.evaluation.ablation import read_measured, run_ablation
from training.recipes import ABLATION_VARIANTS, RECIPES, Recipe
from training.trainer import fit, predict

CPU = torch.device("cpu")


@pytest.fixture
def held_out(small_parts: tuple[Digits, HeldOut]) -> HeldOut:
    """The held-out digits as two populations of different sizes."""
    digits = small_parts[1].digits
    return HeldOut({"mnist": digits.take(torch.arange(120)), "swiss": digits.take(torch.arange(120, 200))})


@pytest.mark.training
def test_each_variant_is_measured_once_per_seed(
    small_parts: tuple[Digits, HeldOut], held_out: HeldOut, tmp_path: Path
) -> None:
    """Interrupted after three rows and continued, the study has one row for each, in order."""
    variants = {"base": vary(EARLY, epochs=1), "no averaging": vary(EARLY, epochs=1, ema=None)}
    log = tmp_path / "docs" / "ablation.csv"
    seen: list[tuple[str, int]] = []
    loaded: list[Recipe] = []

    def load_training(recipe: Recipe) -> Digits:
        loaded.append(recipe)
        return small_parts[0]

    def run_three() -> list[tuple[str, int]]:
        rows = run_ablation(
            load_training,
            held_out,
            variants,
            2,
            log,
            CPU,
            tmp_path,
            lambda name, seed, _: seen.append((name, seed)),
        )
        return [(row["variant"], row["seed"]) for row in islice(rows, 3)]

    assert run_three() == [("base", 0), ("no averaging", 0), ("base", 1)]
    seen.clear()
    assert run_three() == [("no averaging", 1)]
    assert set(seen) == {("no averaging", 1)}
    assert loaded == [*variants.values()] * 2  # a variant may also train on other digits
    rows = list(csv.DictReader(log.read_text().splitlines()))
    assert len(rows) == len(read_measured(log)) == 4


@pytest.mark.training
def test_each_population_is_measured_by_itself(
    small_parts: tuple[Digits, HeldOut], held_out: HeldOut, tmp_path: Path
) -> None:
    """A row has the errors that the same network makes on each population, counted here again."""
    recipe = vary(EARLY, epochs=1)
    (row,) = run_ablation(
        lambda recipe: small_parts[0],
        held_out,
        {"base": recipe},
        1,
        tmp_path / "log.csv",
        CPU,
        tmp_path,
        lambda *_: None,
    )
    network = fit(recipe, small_parts[0], held_out.digits, seed=0).network
    for population, digits in held_out.by_population.items():
        probabilities, _ = predict(network, digits.images)
        assert row[f"{population}_errors"] == int((probabilities.argmax(1) != digits.labels).sum()) > 0
    assert row["mnist_errors"] != row["swiss_errors"]


def test_without_a_log_nothing_is_measured(tmp_path: Path) -> None:
    """A study starts without a log."""
    assert read_measured(tmp_path / "none.csv") == set()


def test_every_variant_changes_exactly_one_thing() -> None:
    """Each variant differs from the base in one field, and "MNIST only" in both of the other digits that are added.
    The base differs from the fast recipe only in its length."""
    base = ABLATION_VARIANTS["base"]
    assert base == vary(RECIPES["fast"], epochs=base.epochs)
    for name, variant in ABLATION_VARIANTS.items():
        changed = [field for field, value in vars(variant).items() if value != vars(base)[field]]
        assert len(changed) == {"base": 0, "MNIST only": 2}.get(name, 1), name
    only_mnist = ABLATION_VARIANTS["MNIST only"]
    assert (only_mnist.swiss, only_mnist.variants) == (0, 0)
