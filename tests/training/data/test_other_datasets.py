"""Digits of other datasets are read, and brought to the MNIST convention."""

from pathlib import Path

import pytest

from app.inference.engines import Engine
from training.data.mnist import Digits
from training.data.other_datasets import load_sklearn_digits, load_usps
from training.errors import DataError
from training.evaluation.metrics import score_all


def measure_accuracy(engine: Engine, digits: Digits) -> float:
    read = score_all(engine, digits.images.numpy()).probabilities.argmax(axis=1)
    return float((read == digits.labels.numpy()).mean())


def test_sklearn_digits_are_brought_to_the_convention(engine: Engine) -> None:
    """1,797 digits of 8x8 become 28x28, and the released model reads most of them."""
    digits = load_sklearn_digits()
    assert digits.images.shape == (1797, 28, 28)
    assert measure_accuracy(engine, digits) > 0.95


def test_usps_is_read_as_digits(data_dir: Path, engine: Engine) -> None:
    """7,291 digits of 16x16 become 28x28, and the released model, which never saw them, reads them."""
    digits = load_usps(data_dir)
    assert digits.images.shape == (7291, 28, 28)
    assert measure_accuracy(engine, digits) > 0.99


def test_a_missing_usps_file_is_named(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(DataError, match=r"zip\.train\.gz is missing"):
        load_usps(tmp_path)
