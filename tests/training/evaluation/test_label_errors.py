"""A digit with a wrong label is suspect to a network that was not trained on it."""

import csv
from pathlib import Path

import pytest
import torch

from tests.support.small_training import vary, write_small_mnist
from tests.training.commands.running import run_here
from training.commands import label_errors
from training.data import populations
from training.data.mnist import Digits, load, split_indices
from training.data.populations import read_label_errors
from training.evaluation.label_errors import FOLDS, MAX_PROBABILITY, find_label_errors

SEARCH = vary(epochs=6, hold_out=100)
CHANGED = (7, 123, 250, 401, 598)  # indices of digits that are not held out


@pytest.fixture
def true_digits(tmp_path: Path) -> Digits:
    """A training split of 700 digits, written to ``data``."""
    write_small_mnist(tmp_path / "data", train=700, test=10)
    return load(tmp_path / "data", "train")


def spoil(digits: Digits, index: torch.Tensor) -> Digits:
    """Change the labels at these indices, by three."""
    labels = digits.labels.clone()
    labels[index] = (labels[index] + 3) % 10
    return Digits(digits.images, labels)


@pytest.mark.training
def test_wrong_labels_are_found(true_digits: Digits) -> None:
    """Of five changed labels most are found, with the digit that it was, and hardly any other. Both halves are
    searched."""
    digits = true_digits.take(torch.arange(600))
    seen: set[tuple[int, int]] = set()
    errors = find_label_errors(
        spoil(digits, torch.tensor(CHANGED)),
        SEARCH,
        torch.device("cpu"),
        lambda fold, epoch: seen.add((fold, epoch.epoch)),
    )
    found = {error.index: error for error in errors}
    assert len(found.keys() & set(CHANGED)) >= 3
    assert len(found.keys() - set(CHANGED)) <= 2
    for index in found.keys() & set(CHANGED):
        truth = int(digits.labels[index])
        assert (found[index].label, found[index].read) == ((truth + 3) % 10, truth)
        assert 0 <= found[index].probability < MAX_PROBABILITY
    assert seen == {(fold, epoch) for fold in range(FOLDS) for epoch in range(1, 7)}


@pytest.mark.training
def test_the_command_writes_indices_of_the_whole_split(
    true_digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are sorted, name digits that are not held out by their index in MNIST's file, and have its label."""
    spoilt = spoil(true_digits, torch.tensor(CHANGED))
    labels = tmp_path / "data" / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:8] + bytes(spoilt.labels.tolist()))
    monkeypatch.setattr(label_errors, "LABEL_ERROR_SEARCH", SEARCH)
    monkeypatch.setattr(populations, "LABEL_ERRORS", tmp_path / "errors.csv")
    done = run_here(tmp_path, "label-errors", "--device", "cpu")
    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader((tmp_path / "errors.csv").read_text().splitlines()))
    assert f"{len(rows)} of 600 digits have suspect labels" in done.stdout
    index = read_label_errors()
    assert index == sorted(index)
    assert len(set(index) & set(CHANGED)) >= 3
    assert set(index) <= set(split_indices(spoilt, SEARCH.hold_out)[0].tolist())
    assert [int(row["label"]) for row in rows] == spoilt.labels[index].tolist()
