"""The test split is only read for finished runs, and each reading is logged."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from app.inference import model_folder
from tests.support.small_training import EARLY, vary, write_small_mnist
from training.data.mnist import Digits, load
from training.data.populations import HeldOut
from training.errors import EvaluationError
from training.evaluation.test_log import evaluate_on_test, store_seed_accuracies
from training.export.model_writer import export_run
from training.runs import Run


def test_the_test_split_is_only_read_for_finished_runs_and_each_time_logged(
    early_run: Run, small_parts: tuple[Digits, HeldOut], tmp_path: Path
) -> None:
    """An unfinished run is refused before the split is read. A finished one leaves a row per engine, and metrics."""
    write_small_mnist(tmp_path / "data", train=800, test=100)
    test = load(tmp_path / "data", "test")
    log = tmp_path / "docs" / "log.csv"

    unfinished_run = replace(early_run, recipe=vary(EARLY, epochs=EARLY.epochs + 1))
    unfinished = export_run(unfinished_run, *small_parts, tmp_path / "small-0.9.0", "0.9.0")
    with pytest.raises(EvaluationError, match="stopped after 2 of 3 epochs"):
        evaluate_on_test(unfinished.folder, test, log)
    assert not log.exists()

    finished = export_run(early_run, *small_parts, tmp_path / "small-1.0.0", "1.0.0")
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
    assert store_seed_accuracies(unfinished.folder, [finished.folder]) == {"small": {"0": accuracy}}
    assert model_folder.load(unfinished.folder).manifest.metrics["seeds"] == {"small": {"0": accuracy}}
    with pytest.raises(EvaluationError, match="not measured on the test split yet"):
        store_seed_accuracies(finished.folder, [unfinished.folder])
