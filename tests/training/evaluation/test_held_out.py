"""A model's figures and its reference are those of held-out digits, read by the model as it ships."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.model_folder import ModelFolder
from app.observability.input_statistics import BOUNDS, make_reference
from tests.support.small_training import write_small_mnist
from tests.training.commands.running import run_here
from training.data.mnist import Digits
from training.data.populations import HeldOut, load_held_out
from training.errors import DataError
from training.evaluation.held_out import store_held_out_figures
from training.evaluation.metrics import score_all
from training.recipes import from_dict


def test_a_reference_counts_the_graph_s_answers_to_held_out_digits(
    small_model: ModelFolder, small_parts: tuple[Digits, HeldOut]
) -> None:
    """Export stores it: the counts of each statistic are those of the graph's own answers, counted here one by one."""
    kept = small_model.manifest.reference
    assert kept
    held_out = small_parts[1].digits
    images = held_out.images.numpy()
    scores = score_all(open_engine(small_model, "onnxruntime", "cpu", 1), images)
    values = {
        "confidence": scores.probabilities.max(axis=1).astype(float).round(6),
        "typicality": scores.typicality,
        "ink_ratio": images.mean(axis=(1, 2)) / 255,
    }
    for name, buckets in kept.signals.items():
        below = [int((values[name] <= bound).sum()) for bound in buckets.bounds]
        assert list(np.cumsum(buckets.counts)) == [*below, len(held_out)]
    read = scores.probabilities.argmax(axis=1)
    assert list(kept.read) == [int((read == digit).sum()) for digit in range(10)]


def test_figures_are_measured_again_and_nothing_else_changes(
    small_model: ModelFolder, small_parts: tuple[Digits, HeldOut], tmp_path: Path
) -> None:
    """With wrong figures and no reference, a second measurement gives the manifest and every file the same bytes."""
    folder = Path(shutil.copytree(small_model.folder, tmp_path / "model"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    metrics = {**small_model.manifest.metrics, "held_out": {"mnist": {}}}
    changes = {"metrics": metrics, "reference": None}
    model_folder.write_manifest(folder, small_model.manifest.model_copy(update=changes))
    assert model_folder.load(folder).manifest.reference is None
    store_held_out_figures(folder, small_parts[1])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.slow
def test_the_released_reference_is_of_its_held_out_digits(data_dir: Path, released: ModelFolder) -> None:
    """Counted again from the same digits, it is the same, except where another CPU rounds differently."""
    try:
        held_out = load_held_out(from_dict(released.manifest.training["runs"][0]["recipe"]), data_dir)
    except DataError as error:  # the Swiss scans are not installed
        pytest.skip(str(error))
    assert held_out
    images = held_out.digits.images.numpy()
    again = make_reference(score_all(open_engine(released, "onnxruntime", "cpu", 2), images), images)
    kept = released.manifest.reference
    assert kept
    assert again.signals["ink_ratio"] == kept.signals["ink_ratio"]
    for one, other in ((again.read, kept.read), *((again.signals[n].counts, kept.signals[n].counts) for n in BOUNDS)):
        assert np.abs(np.subtract(one, other)).sum() <= 20


def test_the_command_stores_figures_of_the_digits_that_the_recipe_holds_out(
    small_model: ModelFolder, tmp_path: Path
) -> None:
    """It does not read the test split, logs nothing, and prints each population."""
    folder = Path(shutil.copytree(small_model.folder, tmp_path / "model"))
    recipe = from_dict(small_model.manifest.training["runs"][0]["recipe"])
    write_small_mnist(tmp_path / "data", train=recipe.hold_out + 10, test=1)
    done = run_here(tmp_path, "evaluate", "--held-out", "model")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{recipe.hold_out:,} held-out digits: mnist" in done.stdout
    again = model_folder.load(folder).manifest
    assert again.metrics["held_out"] != small_model.manifest.metrics["held_out"]
    assert again.calibration == small_model.manifest.calibration
    assert not (tmp_path / "test-log.csv").exists()
