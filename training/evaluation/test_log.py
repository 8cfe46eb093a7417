"""Measures finished models on the test split, and logs every time that it is read.

The test split must not influence any choice. It once did: see ``docs/training.md``. So it is only read for finished
runs, and each reading is a row of a log, with the commit that made it.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.inference import model_folder
from app.inference.model_folder import EngineName, ModelFolder
from training.data.mnist import Digits
from training.errors import EvaluationError
from training.evaluation.csv_log import append_row
from training.evaluation.metrics import measure_model
from training.provenance import describe_commit


def check_finished(model: ModelFolder) -> None:
    """Check that a model was made from finished runs.

    Raises:
        EvaluationError: A run is unfinished.
    """
    training = model.manifest.training
    if not training["finished"]:
        stopped = next(run for run in training["runs"] if run["epochs_done"] < run["recipe"]["epochs"])
        raise EvaluationError(
            f"{model.folder} was made from a run that stopped after {stopped['epochs_done']} of "
            f"{stopped['recipe']['epochs']} epochs. The test split is only for finished runs."
        )


def evaluate_on_test(model: ModelFolder, test: Digits, log: Path) -> dict[EngineName, dict[str, Any]]:
    """Measure a finished model on the test split. Log the reading, and store the metrics in the model's manifest.

    Raises:
        EvaluationError: The model was made from an unfinished run.
    """
    check_finished(model)
    commit = describe_commit()  # before the manifest changes, which may be a tracked file
    results = measure_model(model, test)
    metrics = {**model.manifest.metrics, "test": results}
    model_folder.write_manifest(model.folder, model.manifest.model_copy(update={"metrics": metrics}))
    runs = model.manifest.training["runs"]
    shipped = results["onnxruntime"]
    append_row(
        log,
        {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "commit": commit.removesuffix("+"),
            "code": "uncommitted changes" if commit.endswith("+") else "committed",
            "model": model.manifest.id,
            "manifest_sha256": model.sha256[:12],
            "recipe": "+".join(dict.fromkeys(run["recipe"]["name"] for run in runs)),
            "seed": " ".join(str(run["seed"]) for run in runs),
            "digits": shipped["digits"],
            "errors": shipped["errors"],
            "torch_errors": results["torch"]["errors"],
            "accuracy": f"{shipped['accuracy']:.4f}",
        },
    )
    return results
