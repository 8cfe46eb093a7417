"""Measures finished models on the test split, and logs every time that it is read.

The test split must not influence any choice. It once did: see ``docs/training.md``. So it is only read for finished
runs, and each reading is a row of ``docs/test-log.csv``; ``+`` behind a commit says that uncommitted code made it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.inference import model_folder
from app.inference.model_folder import EngineName
from training.data.mnist import Digits
from training.errors import EvaluationError
from training.evaluation.csv_log import append_row
from training.evaluation.metrics import measure_model
from training.provenance import describe_commit


def evaluate_on_test(folder: Path, test: Digits, log: Path) -> dict[EngineName, dict[str, Any]]:
    """Measure a finished model on the test split. Log the reading, and store the metrics in the model's manifest.

    Raises:
        EvaluationError: The model was made from an unfinished run.
    """
    model = model_folder.load(folder)
    training = model.manifest.training
    if not training["finished"]:
        stopped = next(run for run in training["runs"] if run["epochs_done"] < run["recipe"]["epochs"])
        raise EvaluationError(
            f"{folder} was made from a run that stopped after {stopped['epochs_done']} of "
            f"{stopped['recipe']['epochs']} epochs. The test split is only for finished runs."
        )
    results = measure_model(model, test)
    metrics = {**model.manifest.metrics, "test": results}
    model_folder.write_manifest(folder, model.manifest.model_copy(update={"metrics": metrics}))
    for name, result in results.items():
        append_row(
            log,
            {
                "date": datetime.now(UTC).strftime("%Y-%m-%d"),
                "commit": describe_commit(),
                "model": model.manifest.id,
                "manifest_sha256": model.sha256[:12],
                "engine": name,
                "recipe": "+".join(dict.fromkeys(run["recipe"]["name"] for run in training["runs"])),
                "seed": " ".join(str(run["seed"]) for run in training["runs"]),
                "digits": result["digits"],
                "errors": result["errors"],
                "accuracy": f"{result['accuracy']:.4f}",
            },
        )
    return results


def store_seed_accuracies(folder: Path, runs: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Store in a model's manifest the test accuracies of its recipes with other seeds.

    Args:
        runs: Model folders of one network each, already measured on the test split.

    Returns:
        The accuracy of the graph that would ship, by recipe and seed.

    Raises:
        EvaluationError: One of the runs is not measured yet.
    """
    seeds: dict[str, dict[str, float]] = {}
    for path in runs:
        manifest = model_folder.load(path).manifest
        if "test" not in manifest.metrics:
            raise EvaluationError(f"{path} is not measured on the test split yet.")
        (run,) = manifest.training["runs"]
        accuracy = manifest.metrics["test"]["onnxruntime"]["accuracy"]
        seeds.setdefault(run["recipe"]["name"], {})[str(run["seed"])] = accuracy
    manifest = model_folder.load(folder).manifest
    model_folder.write_manifest(folder, manifest.model_copy(update={"metrics": {**manifest.metrics, "seeds": seeds}}))
    return seeds
