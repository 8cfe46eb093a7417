"""Digits from elsewhere and out of shape: read from the right place, bent as named, the same each time."""

from pathlib import Path

import numpy as np
import pytest
import torch

from app.inference.model_folder import ModelFolder
from app.inference.engines import Engine
from tests.support.pictures import Grey
from training.__main__ import main
from training.data.mnist import DataError, Digits
from training.evaluation.metrics import score_all
from training.data.corruptions import CORRUPTIONS, corrupted, scikit_digits, usps


def share_read(engine: Engine, digits: Digits) -> float:
    read = score_all(engine, digits.images.numpy()).probabilities.argmax(axis=1)
    return float((read == digits.labels.numpy()).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_bends_each_digit_and_always_alike(name: str, digits: list[tuple[int, Grey]]) -> None:
    """uint8 pictures that differ from what they were, with their labels; a second call gives the same."""
    whole = Digits(
        torch.from_numpy(np.stack([image for _, image in digits])), torch.tensor([digit for digit, _ in digits])
    )
    bent = corrupted(whole, name)
    assert (bent.images.dtype, bent.images.shape) == (torch.uint8, whole.images.shape)
    assert torch.equal(bent.labels, whole.labels)
    assert ((bent.images.float() - whole.images.float()).abs().mean((1, 2)) > 1).float().mean() > 0.9
    assert torch.equal(bent.images, corrupted(whole, name).images)


def test_scikit_learn_s_digits_are_brought_to_the_convention(engine: Engine) -> None:
    """1,797 digits of 8x8 become 28x28 that the released model reads for the most part."""
    digits = scikit_digits()
    assert digits.images.shape == (1797, 28, 28)
    assert share_read(engine, digits) > 0.95


def test_usps_is_read_as_digits(data_dir: Path, engine: Engine) -> None:
    """7,291 digits of 16x16 become 28x28 that the released model, which never saw them, reads."""
    digits = usps(data_dir)
    assert digits.images.shape == (7291, 28, 28)
    assert share_read(engine, digits) > 0.99


def test_usps_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(DataError, match=r"zip\.train\.gz is not there"):
        usps(tmp_path)


def test_the_command_prints_a_column_a_model(
    data_dir: Path, released: ModelFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every set is a row, every model a column, the mean of the corruptions is last."""
    textbook = released.folder.parent / "textbook-1.0.0"
    assert main(["robustness", str(released.folder), str(textbook), "--data-dir", str(data_dir)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0][1:] == [released.folder.name, textbook.name]
    assert [" ".join(line[:-2]) for line in lines[2:]][-len(CORRUPTIONS) - 1 :] == [
        *CORRUPTIONS,
        "mean of the corruptions",
    ]
