"""Corruptions change each digit, and in the same way each time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.inference.model_folder import ModelFolder
from tests.support.pictures import Grey
from tests.support.small_training import write_small_mnist
from training.__main__ import main
from training.commands import robustness
from training.data.corruptions import CORRUPTIONS, corrupt
from training.data.mnist import Digits
from training.recipes import FAST


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_changes_each_digit_and_always_alike(name: str, digits: list[tuple[int, Grey]]) -> None:
    """The result is uint8 pictures that differ from the input, with the same labels. A second call gives the same."""
    originals = Digits(
        torch.from_numpy(np.stack([image for _, image in digits])), torch.tensor([digit for digit, _ in digits])
    )
    corrupted = corrupt(originals, name)
    assert (corrupted.images.dtype, corrupted.images.shape) == (torch.uint8, originals.images.shape)
    assert torch.equal(corrupted.labels, originals.labels)
    change = (corrupted.images.float() - originals.images.float()).abs().mean((1, 2))
    assert (change > 1).float().mean() > 0.9
    assert torch.equal(corrupted.images, corrupt(originals, name).images)


@pytest.mark.slow
def test_the_command_prints_a_column_per_model(
    released: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each set of digits is a row, each model a column. The mean of the corruptions is the last row.

    USPS is not there, and is left out.
    """
    write_small_mnist(tmp_path, train=1_000, test=10)
    monkeypatch.setattr(robustness, "FAST", replace(FAST, hold_out=200))
    textbook = released.folder.parent / "textbook-1.0.0"
    assert main(["robustness", str(released.folder), str(textbook), "--data-dir", str(tmp_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0][:2] == ["Left", "out:"]
    lines = lines[next(index for index, line in enumerate(lines) if line[0] == "digits") :]
    assert lines[0][1:] == [released.folder.name, textbook.name]
    assert [" ".join(line[:-2]) for line in lines[2:]][-len(CORRUPTIONS) - 1 :] == [
        *CORRUPTIONS,
        "mean of the corruptions",
    ]
