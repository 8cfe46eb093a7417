"""MNIST is loaded from disk, and its training split is split in fixed ways."""

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.small_training import write_small_mnist
from training.data.mnist import Digits, hold_out, load, load_for_recipe, load_with_held_out, make_folds
from training.errors import DataError
from training.recipes import FAST, TEXTBOOK


def test_files_on_disk_are_read_in_place(tmp_path: Path) -> None:
    """The canonical files are read where they are, and nothing is written beside them."""
    write_small_mnist(tmp_path, train=40, test=20)
    before = sorted(tmp_path.rglob("*"))
    train, test = load(tmp_path, "train"), load(tmp_path, "test")
    assert (train.images.shape, train.images.dtype) == ((40, 28, 28), torch.uint8)
    assert (test.labels.shape, test.labels.dtype) == ((20,), torch.int64)
    assert sorted(tmp_path.rglob("*")) == before


def test_without_files_and_without_a_network_the_error_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the folder and the four files. The test cuts off the network, if there is one."""

    def no_network(*arguments: Any, **options: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "create_connection", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(DataError) as caught:
        load(tmp_path, "train")
    message = str(caught.value)
    assert str(tmp_path / "MNIST" / "raw") in message
    assert "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte" in message


def digits(count: int) -> Digits:
    labels = torch.arange(count) % 10
    return Digits(torch.arange(count, dtype=torch.int32).view(-1, 1, 1).expand(-1, 28, 28), labels)


def ids(part: Digits) -> list[int]:
    return [int(number) for number in part.images[:, 0, 0]]


def test_held_out_digits_are_stratified_and_always_the_same() -> None:
    """No digit is in both parts, each class has its share, and a second call gives the same split."""
    kept, held = hold_out(digits(1000), 100)
    assert sorted(ids(kept) + ids(held)) == list(range(1000))
    assert torch.bincount(held.labels).tolist() == [10] * 10
    assert ids(hold_out(digits(1000), 100)[1]) == ids(held)


def test_a_recipe_without_held_out_digits_is_refused_where_they_are_needed(tmp_path: Path) -> None:
    """Such a recipe trains on all digits. The error of a command that needs held-out digits names the recipe."""
    write_small_mnist(tmp_path, train=40, test=20)
    training, held_out = load_for_recipe(TEXTBOOK, tmp_path)
    assert (len(training), held_out) == (40, None)
    training, held_out = load_with_held_out(replace(FAST, hold_out=10), tmp_path)
    assert (len(training), len(held_out)) == (30, 10)
    with pytest.raises(DataError, match="the recipe textbook holds out none"):
        load_with_held_out(TEXTBOOK, tmp_path)


def test_folds_cover_everything_once() -> None:
    """Each digit is left out in exactly one fold, and each class has its share in each fold."""
    parts = make_folds(digits(200), 5)
    assert sorted(number for _, left_out in parts for number in ids(left_out)) == list(range(200))
    for kept, left_out in parts:
        assert not set(ids(kept)) & set(ids(left_out))
        assert torch.bincount(left_out.labels).tolist() == [4] * 10


def test_the_data_are_mnist(data_dir: Path) -> None:
    """The splits have 60,000 and 10,000 digits, and start with a 5 and a 7."""
    train, test = load(data_dir, "train"), load(data_dir, "test")
    assert (len(train), len(test), int(train.labels[0]), int(test.labels[0])) == (60_000, 10_000, 5, 7)
