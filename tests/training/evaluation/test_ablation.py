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
from training.recipes import ABLATION_VARIANTS, RECIPES

CPU = torch.device("cpu")


@pytest.mark.training
def test_each_variant_is_measured_once_per_seed(small_parts: tuple[Digits, HeldOut], tmp_path: Path) -> None:
    """Interrupted after three rows and continued, the study has one row for each, in order."""
    variants = {"base": vary(EARLY, epochs=1), "no averaging": vary(EARLY, epochs=1, ema=None)}
    log = tmp_path / "docs" / "ablation.csv"
    seen: list[tuple[str, int]] = []

    def run_three() -> list[tuple[str, int]]:
        rows = run_ablation(*small_parts, variants, 2, log, CPU, lambda name, seed, _: seen.append((name, seed)))
        return [(row["variant"], row["seed"]) for row in islice(rows, 3)]

    assert run_three() == [("base", 0), ("no averaging", 0), ("base", 1)]
    seen.clear()
    assert run_three() == [("no averaging", 1)]
    assert set(seen) == {("no averaging", 1)}
    rows = list(csv.DictReader(log.read_text().splitlines()))
    assert len(rows) == len(read_measured(log)) == 4
    for row in rows:
        assert float(row["accuracy"]) == pytest.approx(1 - int(row["errors"]) / 200)


def test_without_a_log_nothing_is_measured(tmp_path: Path) -> None:
    """A study starts without a log."""
    assert read_measured(tmp_path / "none.csv") == set()


def test_every_variant_changes_exactly_one_thing() -> None:
    """Each variant differs from the base in one field. The base differs from the fast recipe only in its length."""
    base = ABLATION_VARIANTS["base"]
    assert base == vary(RECIPES["fast"], epochs=base.epochs)
    for name, variant in ABLATION_VARIANTS.items():
        changed = [field for field, value in vars(variant).items() if value != vars(base)[field]]
        assert len(changed) == (name != "base")
