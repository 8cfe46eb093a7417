"""MNIST on disk, and how its training split is divided."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.small import small_mnist
from training.data.mnist import DataError, Digits, folds, hold_out, load


def test_what_is_there_is_used_in_place(tmp_path: Path) -> None:
    """The canonical files are read where they lie, and nothing is written beside them."""
    small_mnist(tmp_path, train=40, test=20)
    before = sorted(tmp_path.rglob("*"))
    train, test = load(tmp_path, "train"), load(tmp_path, "test")
    assert (train.images.shape, train.images.dtype) == ((40, 28, 28), torch.uint8)
    assert (test.labels.shape, test.labels.dtype) == ((20,), torch.int64)
    assert sorted(tmp_path.rglob("*")) == before


def test_without_files_and_without_a_network_the_error_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the folder and the four files. The network is taken away for the test: it may be there."""

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


def test_what_is_held_out_is_stratified_and_always_the_same() -> None:
    """Nothing is in both parts, each class has its share, and a second call divides alike."""
    kept, held = hold_out(digits(1000), 100)
    assert sorted(ids(kept) + ids(held)) == list(range(1000))
    assert torch.bincount(held.labels).tolist() == [10] * 10
    assert ids(hold_out(digits(1000), 100)[1]) == ids(held)


def test_folds_cover_everything_once() -> None:
    """Each digit is left out in exactly one fold, with its class's share in each."""
    parts = folds(digits(200), 5)
    assert sorted(number for _, left_out in parts for number in ids(left_out)) == list(range(200))
    for kept, left_out in parts:
        assert not set(ids(kept)) & set(ids(left_out))
        assert torch.bincount(left_out.labels).tolist() == [4] * 10


def test_the_data_here_are_mnist(data_dir: Path) -> None:
    """60,000 and 10,000 digits, the first a 5 and a 7."""
    train, test = load(data_dir, "train"), load(data_dir, "test")
    assert (len(train), len(test), int(train.labels[0]), int(test.labels[0])) == (60_000, 10_000, 5, 7)
