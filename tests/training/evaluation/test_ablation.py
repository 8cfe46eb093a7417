"""The study: a row a variant and seed, kept as they come, none trained twice."""

import csv
from itertools import islice
from pathlib import Path

import pytest
import torch

from tests.support.small import EARLY, small
from training.data.mnist import Digits
from training.recipes import RECIPES
from training.evaluation.ablation import VARIANTS, measured, study

CPU = torch.device("cpu")


def test_each_variant_is_measured_once_a_seed(small_parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    """Stopped after three rows and gone on with, the study ends with one row each, in the log as they came."""
    variants = {"base": small(EARLY, epochs=2), "no averaging": small(EARLY, epochs=2, ema=None)}
    log = tmp_path / "docs" / "study.csv"
    seen: list[tuple[str, int]] = []

    def rows() -> list[tuple[str, int]]:
        running = study(*small_parts, variants, 2, log, CPU, lambda name, seed, _: seen.append((name, seed)))
        return [(row["variant"], row["seed"]) for row in islice(running, 3)]

    assert rows() == [("base", 0), ("no averaging", 0), ("base", 1)]
    seen.clear()
    assert rows() == [("no averaging", 1)]
    assert set(seen) == {("no averaging", 1)}
    kept = list(csv.DictReader(log.read_text().splitlines()))
    assert len(kept) == len(measured(log)) == 4
    for row in kept:
        assert float(row["accuracy"]) == pytest.approx(1 - int(row["errors"]) / 200)


def test_a_study_starts_where_nothing_is(tmp_path: Path) -> None:
    """Without a log, nothing was measured."""
    assert measured(tmp_path / "none.csv") == set()


def test_every_variant_changes_something_and_one_thing() -> None:
    """Each is the base but for one field; the base is the fast recipe but for its length."""
    base = VARIANTS["base"]
    assert base == small(RECIPES["fast"], epochs=base.epochs)
    for name, variant in VARIANTS.items():
        changed = [field for field, value in vars(variant).items() if value != vars(base)[field]]
        assert len(changed) == (name != "base")
