"""MNIST is loaded from disk, and its training split is split in fixed ways."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.small_training import write_small_mnist
from training.data.mnist import Digits, hold_out, load, make_folds, split_indices
from training.errors import DataError


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


def test_indices_of_a_split_are_sorted_and_name_the_same_digits() -> None:
    """Other parts of the code name a digit by its index in the whole split. Without held-out digits, all are kept."""
    kept, held = split_indices(digits(1000), 100)
    assert kept.tolist() == sorted(kept.tolist()) == ids(hold_out(digits(1000), 100)[0])
    assert held.tolist() == sorted(held.tolist()) == ids(hold_out(digits(1000), 100)[1])
    kept, held = split_indices(digits(50), 0)
    assert (kept.tolist(), held.tolist()) == (list(range(50)), [])


def test_folds_cover_everything_once() -> None:
    """Each digit is left out in exactly one fold, and each class has its share in each fold."""
    whole = digits(200)
    parts = make_folds(whole, 5)
    assert sorted(index for _, left_out in parts for index in left_out.tolist()) == list(range(200))
    for kept, left_out in parts:
        assert sorted(kept.tolist() + left_out.tolist()) == list(range(200))
        assert torch.bincount(whole.labels[left_out]).tolist() == [4] * 10


def test_the_data_are_mnist(data_dir: Path) -> None:
    """The splits have 60,000 and 10,000 digits. The first training digit is a 5."""
    train = load(data_dir, "train")
    assert (len(train), int(train.labels[0])) == (60_000, 5)
    assert load(data_dir, "test").images.shape == (10_000, 28, 28)
