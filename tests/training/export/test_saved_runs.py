"""Runs are rebuilt from model folders, to be exported again."""

from pathlib import Path

import pytest
import torch

from app.inference.model_folder import ModelFolder
from tests.support.small_training import EARLY, make_similar_run
from training.data.mnist import Digits
from training.data.populations import HeldOut
from training.errors import ExportError
from training.export.model_writer import export_cascade, export_run
from training.export.saved_runs import load_committee_runs, load_fast_run, load_network, load_run
from training.runs import Run
from training.trainer import predict


def test_a_model_folder_can_be_exported_again(
    small_model: ModelFolder, small_parts: tuple[Digits, HeldOut], tmp_path: Path
) -> None:
    """The run of a folder can be made into another folder that reads alike."""
    run = load_run(small_model.folder)
    assert run.recipe == EARLY
    again = export_run(run, *small_parts, tmp_path / "again-1.2.3", "1.2.3")
    assert again.manifest.calibration["torch"].networks["small"].temperature == pytest.approx(
        small_model.manifest.calibration["torch"].networks["small"].temperature, rel=0.01
    )
    ours, theirs = (
        predict(load_run(folder).network, small_parts[1].digits.images)[0]
        for folder in (again.folder, small_model.folder)
    )
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_a_committee_can_be_used_in_another_cascade(
    early_run: Run,
    small_model: ModelFolder,
    small_cascade: ModelFolder,
    small_parts: tuple[Digits, HeldOut],
    tmp_path: Path,
) -> None:
    """Split and joined again beside another fast network, it answers as before, and its runs are recorded.

    The same holds for the fast network beside another committee.
    """
    other = make_similar_run(early_run, 1)
    members = load_committee_runs(small_cascade.folder)
    assert [(member.recipe, member.seed) for member in members] == [(EARLY, 0), (EARLY, 1)]
    second = export_cascade(other, members, *small_parts, tmp_path / "pair-1.1.0", "1.1.0")
    assert [run["seed"] for run in second.manifest.training["runs"]] == [1, 0, 1]
    ours, theirs = (
        load_network(model, "careful").logits(small_parts[1].digits.images) for model in (second, small_cascade)
    )
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    fast = load_fast_run(second.folder)
    assert fast.seed == 1
    torch.testing.assert_close(*(it.logits(small_parts[1].digits.images) for it in (fast.network, other.network)))
    with pytest.raises(ExportError, match="no committee"):
        load_committee_runs(small_model.folder)
