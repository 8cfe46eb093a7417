"""Measures, against figures worked out by hand or by another library; and what may read the test split."""

import csv
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from app.inference import model_folder
from app.inference.model_folder import ModelFolder, Thresholds
from app.inference.engine_selection import open_engine
from app.observability.input_statistics import BOUNDS, make_reference
from tests.support.small import small, small_mnist
from training.data.mnist import Digits, hold_out, load
from training.evaluation.metrics import (
    EvaluationError,
    cross_validate,
    evaluate_on_test,
    keep_reference,
    keep_seeds,
    measure,
    reliability,
    score_all,
)
from training.export.model_folder import export
from training.trainer import fit

ALL_IN = Thresholds(confidence=0, typicality=0)


def one_hot_ish(read: list[int], confidence: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    probabilities = np.full((len(read), 10), (1 - confidence) / 9, np.float32)
    probabilities[np.arange(len(read)), read] = confidence
    return probabilities


def test_figures_worked_out_by_hand() -> None:
    """Ten digits, one of them misread, all at 90 % confidence."""
    labels = np.arange(10)
    result = measure(one_hot_ish([0, 1, 2, 3, 4, 5, 6, 7, 8, 8], 0.9), labels, np.ones(10, np.float32), ALL_IN)
    assert (result["digits"], result["errors"], result["accuracy"]) == (10, 1, 0.9)
    assert result["nll"] == pytest.approx(-(9 * math.log(0.9) + math.log(0.1 / 9)) / 10, abs=1e-5)
    right, wrong = 0.1**2 + 9 * (0.1 / 9) ** 2, 0.9**2 + (1 - 0.1 / 9) ** 2 + 8 * (0.1 / 9) ** 2
    assert result["brier"] == pytest.approx((9 * right + wrong) / 10, abs=1e-5)
    assert result["confusion"][9][8] == 1
    assert result["classes"][9] == {"digit": 9, "precision": 0.0, "recall": 0.0, "f1": 0.0, "digits": 1}
    assert result["classes"][8]["precision"] == 0.5
    assert result["classes"][8]["f1"] == pytest.approx(2 / 3)
    assert result["misread"] == [{"index": 9, "label": 9, "read": 8, "confidence": 0.9}]
    # Wilson's interval for 9 of 10, as any textbook has it.
    assert result["accuracy_95"] == pytest.approx([0.5958, 0.9821], abs=1e-3)


def test_acceptance_is_counted_at_the_thresholds() -> None:
    """What fails either threshold is not accepted, and does not count against what is."""
    probabilities = np.concatenate([one_hot_ish([0, 1, 2], 0.9), one_hot_ish([0], 0.4)])
    typicality = np.array([1, 1, 0, 1], np.float32)
    labels = np.array([0, 1, 5, 5])
    result = measure(probabilities, labels, typicality, Thresholds(confidence=0.5, typicality=0.5))
    assert (result["accuracy"], result["accepted"], result["accuracy_of_accepted"]) == (0.5, 0.5, 1.0)


def test_calibration_error_is_the_gap_between_doubt_and_error() -> None:
    """Confidences drawn as true probabilities have none to speak of; overstated ones have what they overstate."""
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.3, 1.0, 60_000).astype(np.float32)
    right = generator.uniform(size=60_000) < confidence

    def gap(bins: list[dict[str, float]]) -> float:
        return sum(b["digits"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / 60_000

    bins = reliability(confidence, right)
    assert {b["digits"] for b in bins} == {4_000}
    assert gap(bins) < 0.01
    assert gap(reliability(np.minimum(confidence + 0.1, 1.1).astype(np.float32), right)) == pytest.approx(0.1, abs=0.01)


def test_the_test_split_is_read_for_finished_runs_alone_and_each_time_logged(tmp_path: Path) -> None:
    """An unfinished run is refused before it reads; a finished one leaves a line an engine and its figures."""
    small_mnist(tmp_path / "data", train=800, test=100)
    training, held_out = hold_out(load(tmp_path / "data", "train"), 200)
    test = load(tmp_path / "data", "test")
    log = tmp_path / "docs" / "log.csv"
    run = fit(small(epochs=8), training, held_out)

    run.recipe = small(epochs=9)
    unfinished = export(run, training, held_out, tmp_path / "small-0.9.0", "0.9.0")
    with pytest.raises(EvaluationError, match="stopped after 8 of 9 epochs"):
        evaluate_on_test(unfinished.folder, test, log)
    assert not log.exists()

    run.recipe = small(epochs=8)
    finished = export(run, training, held_out, tmp_path / "small-1.0.0", "1.0.0")
    for _ in range(2):
        results = evaluate_on_test(finished.folder, test, log)
    rows = list(csv.DictReader(log.read_text().splitlines()))
    assert [(row["model"], row["engine"]) for row in rows] == [
        ("small-1.0.0", "onnxruntime"),
        ("small-1.0.0", "torch"),
    ] * 2
    assert rows[0]["errors"] == str(results["onnxruntime"]["errors"])
    assert int(rows[0]["digits"]) == 100

    accuracy = results["onnxruntime"]["accuracy"]
    assert keep_seeds(unfinished.folder, [finished.folder]) == {"small": {"0": accuracy}}
    assert model_folder.load(unfinished.folder).manifest.metrics["seeds"] == {"small": {"0": accuracy}}
    with pytest.raises(EvaluationError, match="not evaluated yet"):
        keep_seeds(finished.folder, [unfinished.folder])


def test_a_reference_is_of_the_held_out_digits_by_what_ships(
    small_model: ModelFolder, small_parts: tuple[Digits, Digits]
) -> None:
    """Export keeps it: each signal's counts are those of the graph's own answers, counted here by comparison alone."""
    kept = small_model.manifest.reference
    assert kept
    _, held_out = small_parts
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
    small_model: ModelFolder, small_parts: tuple[Digits, Digits], tmp_path: Path
) -> None:
    """Taken out and added again, the manifest is byte for byte the same, and so is each file."""
    folder = Path(shutil.copytree(small_model.folder, tmp_path / "model"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model_folder.write_manifest(folder, small_model.manifest.model_copy(update={"reference": None}))
    assert model_folder.load(folder).manifest.reference is None
    keep_reference(folder, small_parts[1])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_released_reference_is_of_mnist_s_held_out_digits(data_dir: Path, released: ModelFolder) -> None:
    """Counted again from the training split, it is the same but for what another CPU rounds otherwise."""
    _, held_out = hold_out(load(data_dir, "train"), released.manifest.training["data"]["held_out"])
    images = held_out.images.numpy()
    again = make_reference(score_all(open_engine(released, "onnxruntime", "cpu", 2), images), images)
    kept = released.manifest.reference
    assert kept
    assert again.signals["ink_ratio"] == kept.signals["ink_ratio"]
    for one, other in ((again.read, kept.read), *((again.signals[n].counts, kept.signals[n].counts) for n in BOUNDS)):
        assert np.abs(np.subtract(one, other)).sum() <= 20


def test_cross_validation_trains_and_measures_each_fold(tmp_path: Path) -> None:
    """K networks, each measured on the digits that it was not trained on."""
    small_mnist(tmp_path, train=600, test=10)
    seen: list[int] = []
    result = cross_validate(
        small(epochs=2), load(tmp_path, "train"), 3, 0, torch.device("cpu"), lambda fold, _: seen.append(fold)
    )
    assert seen == [1, 2, 3]
    assert [fold["digits"] for fold in result["results"]] == [200] * 3
    assert result["accuracy_mean"] == pytest.approx(np.mean([fold["accuracy"] for fold in result["results"]]))
    assert result["accuracy_mean"] > 0.5
