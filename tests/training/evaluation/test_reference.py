"""The reference has the statistics of held-out digits, read by the model as it ships."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.model_folder import ModelFolder
from app.observability.input_statistics import BOUNDS, make_reference
from training.data.mnist import Digits
from training.data.populations import HeldOut, load_held_out
from training.errors import DataError
from training.evaluation.metrics import score_all
from training.evaluation.reference import store_reference
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


def test_a_reference_is_added_to_a_folder_and_nothing_else_changes(
    small_model: ModelFolder, small_parts: tuple[Digits, HeldOut], tmp_path: Path
) -> None:
    """With the reference removed and added again, the manifest and every other file have the same bytes."""
    folder = Path(shutil.copytree(small_model.folder, tmp_path / "model"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model_folder.write_manifest(folder, small_model.manifest.model_copy(update={"reference": None}))
    assert model_folder.load(folder).manifest.reference is None
    store_reference(folder, small_parts[1].digits)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.long
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
