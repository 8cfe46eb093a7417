"""The test split is only read for finished runs, and each reading is logged."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from app.inference import model_folder
from app.inference.model_folder import ModelFolder
from tests.support.small_training import EARLY, vary, write_small_mnist
from tests.training.commands.running import run_here
from training.data.mnist import Digits, load
from training.data.populations import HeldOut
from training.errors import EvaluationError
from training.evaluation import test_log
from training.evaluation.test_log import check_finished, evaluate_on_test
from training.export.model_writer import export_run
from training.runs import Run


@pytest.fixture(scope="module")
def exported(
    early_run: Run, small_parts: tuple[Digits, HeldOut], tmp_path_factory: pytest.TempPathFactory
) -> ModelFolder:
    """A model of a run that stopped after two of three epochs. Tests must not change it."""
    run = replace(early_run, recipe=vary(EARLY, epochs=EARLY.epochs + 1))
    return export_run(run, *small_parts, tmp_path_factory.mktemp("models") / "small-0.9.0", "0.9.0")


@pytest.fixture
def unfinished(exported: ModelFolder, tmp_path: Path) -> ModelFolder:
    """A copy of that model."""
    return model_folder.load(Path(shutil.copytree(exported.folder, tmp_path / "models" / "unfinished")))


@pytest.fixture
def finished(small_model: ModelFolder, tmp_path: Path) -> ModelFolder:
    """A copy of a model of a finished run."""
    return model_folder.load(Path(shutil.copytree(small_model.folder, tmp_path / "models" / "finished")))


def read_log(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_each_reading_of_the_test_split_is_one_row(finished: ModelFolder, tmp_path: Path) -> None:
    """A row names the model, its recipe and the commit, and has the errors of both engines. The manifest has the
    figures."""
    write_small_mnist(tmp_path / "data", train=10, test=100)
    test = load(tmp_path / "data", "test")
    log = tmp_path / "docs" / "log.csv"
    for _ in range(2):
        results = evaluate_on_test(finished, test, log)
    rows = read_log(log)
    assert [(row["model"], row["recipe"], row["seed"], row["digits"]) for row in rows] == [
        ("small-1.2.3", "small", "0", "100")
    ] * 2
    for row in rows:
        assert row["manifest_sha256"] == finished.sha256[:12]  # of the manifest as it was before the reading
        assert row["errors"] == str(results["onnxruntime"]["errors"])
        assert row["torch_errors"] == str(results["torch"]["errors"])
        assert float(row["accuracy"]) == pytest.approx(1 - int(row["errors"]) / 100)
        assert row["commit"] == "unknown" or int(row["commit"], 16)
        assert row["code"] in ("committed", "uncommitted changes")
    metrics = model_folder.load(finished.folder).manifest.metrics
    assert {engine: metrics["test"][engine]["errors"] for engine in ("onnxruntime", "torch")} == {
        engine: result["errors"] for engine, result in results.items()
    }
    assert metrics["held_out"] == finished.manifest.metrics["held_out"]


def test_a_row_names_the_code_as_it_was_before_the_reading(
    finished: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reading changes the manifest. Where that is a tracked file, the row still says that the code is committed."""
    before = model_folder.load(finished.folder).sha256

    def describe_commit() -> str:
        is_changed = model_folder.load(finished.folder).sha256 != before
        return "0123456789" + "+" * is_changed

    monkeypatch.setattr(test_log, "describe_commit", describe_commit)
    write_small_mnist(tmp_path / "data", train=10, test=100)
    evaluate_on_test(finished, load(tmp_path / "data", "test"), tmp_path / "log.csv")
    (row,) = read_log(tmp_path / "log.csv")
    assert (row["commit"], row["code"]) == ("0123456789", "committed")


def test_an_unfinished_run_is_refused(unfinished: ModelFolder, finished: ModelFolder, tmp_path: Path) -> None:
    """The error says where it stopped. Nothing is measured or logged."""
    check_finished(finished)
    write_small_mnist(tmp_path / "data", train=10, test=10)
    with pytest.raises(EvaluationError, match="stopped after 2 of 3 epochs"):
        evaluate_on_test(unfinished, load(tmp_path / "data", "test"), tmp_path / "log.csv")
    assert not (tmp_path / "log.csv").exists()
    assert "test" not in model_folder.load(unfinished.folder).manifest.metrics


def test_the_command_refuses_an_unfinished_run_before_it_reads_mnist(
    unfinished: ModelFolder, finished: ModelFolder, tmp_path: Path
) -> None:
    """Without MNIST, the error is still that of the run. The finished model beside it is not measured either."""
    (tmp_path / "data").mkdir()
    done = run_here(tmp_path, "evaluate", str(finished.folder), str(unfinished.folder))
    assert done.returncode == 1
    assert "only for finished runs" in done.stderr
    assert not (tmp_path / "models" / "test-log.csv").exists()


def test_the_command_logs_beside_the_model(finished: ModelFolder, tmp_path: Path) -> None:
    """Or where --log says. A release's readings are logged in docs/, others where their models are."""
    write_small_mnist(tmp_path / "data", train=10, test=100)
    for option in ((), ("--log", "docs/log.csv")):
        done = run_here(tmp_path, "evaluate", str(finished.folder), *option)
        assert (done.returncode, done.stderr) == (0, "")
        assert "100 digits of the test split" in done.stdout
    for log in (tmp_path / "models" / "test-log.csv", tmp_path / "docs" / "log.csv"):
        assert [row["model"] for row in read_log(log)] == ["small-1.2.3"]
