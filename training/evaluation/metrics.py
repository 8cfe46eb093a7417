"""How good a model is: measures of its probabilities, read on digits that it was not trained on.

The test split chooses nothing. It is read for finished runs alone, and each reading is a line of ``docs/test-log.csv``.
Knows nothing of plots or cards.
"""

import csv
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from app.inference import model_folder
from app.inference.model_folder import ModelFolder, EngineName, Reference, Thresholds
from app.inference.cascade import is_below
from app.inference.engine_selection import open_engine
from app.inference.engines import Engine
from app.inference.scores import Scores
from app.observability.input_statistics import make_reference
from training.data.mnist import DISPUTED, Digits, folds
from training.recipes import Recipe
from training.trainer import fit, predict

BINS = 15  # of the reliability diagram, each with as many digits as the others
ENGINES: tuple[EngineName, ...] = ("onnxruntime", "torch")
ACCEPT_ALL = Thresholds(confidence=0, typicality=0)


class EvaluationError(Exception):
    """A model that may not be measured as asked."""


def score_all(engine: Engine, images: NDArray[np.uint8], batch: int = 500) -> Scores:
    """Run any number of pictures ``(N, 28, 28)`` through an engine."""
    parts = [engine(images[start : start + batch]) for start in range(0, len(images), batch)]
    return Scores(
        np.concatenate([part.probabilities for part in parts]), np.concatenate([part.typicality for part in parts])
    )


def measure(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
    typicality: NDArray[np.float32],
    thresholds: Thresholds,
) -> dict[str, Any]:
    """Measure probabilities ``(N, 10)`` against labels ``(N,)``; all figures are shares, not percentages.

    ``accuracy_95`` is Wilson's interval. ``brier`` is the multi-class score of Brier 1950, from 0 to 2. ``ece`` is
    the expected calibration error over bins of equal mass (Nixon et al. 2019, "Measuring Calibration in Deep
    Learning"), and ``ece_95`` its interval over resampled digits. ``aurc`` is the area under the risk-coverage curve
    (Geifman et al. 2019, "Bias-Reduced Uncertainty Estimation"): the mean share misread among the surest 1, 2, ... N.
    """
    count = len(labels)
    read = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    right = read == labels
    interval = binomtest(int(right.sum()), count).proportion_ci(method="wilson")
    precision, recall, f1, support = precision_recall_fscore_support(labels, read, labels=range(10), zero_division=0.0)
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    bins = reliability(confidence, right)
    accepted = ~is_below(Scores(probabilities, typicality), thresholds)
    misread = np.flatnonzero(~right)
    return {
        "digits": count,
        "errors": len(misread),
        "accuracy": float(right.mean()),
        "accuracy_95": [float(interval.low), float(interval.high)],
        "nll": float(log_loss(labels, exact, labels=range(10))),
        "brier": float(((exact - np.eye(10)[labels]) ** 2).sum(axis=1).mean()),
        "ece": calibration_error(bins),
        "ece_95": bootstrap_error(confidence, right),
        "aurc": float((np.cumsum(~right[(-confidence).argsort(kind="stable")]) / np.arange(1, count + 1)).mean()),
        "accepted": float(accepted.mean()),
        "accuracy_of_accepted": float(right[accepted].mean()) if accepted.any() else None,
        "classes": [
            {
                "digit": d,
                "precision": float(precision[d]),
                "recall": float(recall[d]),
                "f1": float(f1[d]),
                "digits": int(support[d]),
            }
            for d in range(10)
        ],
        "confusion": confusion_matrix(labels, read, labels=range(10)).tolist(),  # [label][read]
        "reliability": bins,
        "misread": [
            {
                "index": int(i),
                "label": int(labels[i]),
                "read": int(read[i]),
                "confidence": round(float(confidence[i]), 4),
            }
            for i in misread
        ],
    }


def reliability(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> list[dict[str, float]]:
    """Group digits by confidence into bins of equal mass, and compare confidence with accuracy in each."""
    order = confidence.argsort(kind="stable")
    return [
        {
            "digits": len(index),
            "confidence": float(confidence[index].mean()),
            "accuracy": float(right[index].mean()),
        }
        for index in np.array_split(order, min(BINS, len(order)))
    ]


def calibration_error(bins: list[dict[str, float]]) -> float:
    count = sum(b["digits"] for b in bins)
    return sum(b["digits"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / count


def bootstrap_error(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> list[float]:
    """The middle 95 % of the calibration error over a hundred resamplings of the digits."""
    generator = np.random.default_rng(0)
    draws = (generator.integers(0, len(right), len(right)) for _ in range(100))
    errors = [calibration_error(reliability(confidence[draw], right[draw])) for draw in draws]
    return [float(edge) for edge in np.quantile(errors, [0.025, 0.975])]


def measure_model(model: ModelFolder, digits: Digits) -> dict[EngineName, dict[str, Any]]:
    """Measure a model as each engine runs it: what ships, and what it was made from.

    Of a cascade, each network alone is measured too: ``alone``, by network, is the share that it reads rightly.
    """
    results = {}
    labels = digits.labels.numpy()
    for name in ENGINES:

        def scored(network: str | None, name: EngineName = name) -> Scores:
            engine = open_engine(model, name, "cpu", torch.get_num_threads(), network)
            return score_all(engine, digits.images.numpy())

        scores = scored(None)
        thresholds = model.manifest.thresholds(name, None)
        results[name] = measure(scores.probabilities, labels, scores.typicality, thresholds)
        if model.manifest.cascades:
            results[name]["alone"] = {
                network: float((scored(network).probabilities.argmax(axis=1) == labels).mean())
                for network in model.manifest.networks
            }
    return results


def evaluate_on_test(folder: Path, test: Digits, log: Path) -> dict[EngineName, dict[str, Any]]:
    """Read the test split with a finished model: log the reading, and keep the figures in the model's manifest.

    Raises:
        EvaluationError: the model is of a run that was stopped before its end.
    """
    model = model_folder.load(folder)
    training = model.manifest.training
    if not training["finished"]:
        stopped = next(run for run in training["runs"] if run["epochs_done"] < run["recipe"]["epochs"])
        raise EvaluationError(
            f"{folder} is of a run that was stopped after {stopped['epochs_done']} of "
            f"{stopped['recipe']['epochs']} epochs: the test split is read for finished runs alone"
        )
    results = measure_model(model, test)
    for result in results.values():
        undisputed = [case for case in result["misread"] if case["index"] not in DISPUTED]
        result["accuracy_undisputed"] = 1 - len(undisputed) / (len(test) - len(DISPUTED))
    metrics = {**model.manifest.metrics, "test": results}
    model_folder.write_manifest(folder, model.manifest.model_copy(update={"metrics": metrics}))
    for name, result in results.items():
        append_row(
            log,
            {
                "date": datetime.now(UTC).strftime("%Y-%m-%d"),
                "commit": commit(),
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


def keep_reference(folder: Path, held_out: Digits) -> Reference:
    """Keep in a model's manifest what it makes of held-out digits, as it ships; the test split is no part of this."""
    model = model_folder.load(folder)
    images = held_out.images.numpy()
    counted = make_reference(score_all(open_engine(model, "onnxruntime", "cpu", torch.get_num_threads()), images), images)
    model_folder.write_manifest(folder, model.manifest.model_copy(update={"reference": counted}))
    return counted


def keep_seeds(folder: Path, runs: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Keep in a model's manifest what runs of its recipes read of the test split, each with a seed of its own.

    Returns:
        By recipe and seed, the accuracy of the graph that would ship.

    Raises:
        EvaluationError: a run was not evaluated yet.
    """
    seeds: dict[str, dict[str, float]] = {}
    for path in runs:
        manifest = model_folder.load(path).manifest
        if "test" not in manifest.metrics:
            raise EvaluationError(f"{path} was not evaluated yet")
        (run,) = manifest.training["runs"]
        seeds.setdefault(run["recipe"]["name"], {})[str(run["seed"])] = manifest.metrics["test"]["onnxruntime"][
            "accuracy"
        ]
    manifest = model_folder.load(folder).manifest
    model_folder.write_manifest(folder, manifest.model_copy(update={"metrics": {**manifest.metrics, "seeds": seeds}}))
    return seeds


def append_row(log: Path, row: dict[str, Any]) -> None:
    """Add a line to a CSV, which is begun with the row's keys as its header if it is not there."""
    log.parent.mkdir(parents=True, exist_ok=True)
    new = not log.exists()
    with log.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def commit() -> str:
    """Name the commit that is checked out, with a + if files differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, cwd=Path(__file__).parent, check=True
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short=10", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cross_validate(
    recipe: Recipe,
    digits: Digits,
    count: int,
    seed: int,
    device: torch.device,
    on_fold: Callable[[int, dict[str, Any]], None],
) -> dict[str, Any]:
    """Train a recipe ``count`` times, each on all folds but one, and measure each network on the fold left out."""
    results = []
    for fold, (kept, left_out) in enumerate(folds(digits, count), start=1):
        run = fit(recipe, kept, seed=seed, device=device)
        probabilities, typicality = predict(run.network.cpu(), left_out.images)
        result = measure(probabilities.numpy(), left_out.labels.numpy(), typicality.numpy(), ACCEPT_ALL)
        results.append(result)
        on_fold(fold, result)
    accuracies = np.array([result["accuracy"] for result in results])
    return {
        "recipe": recipe.name,
        "folds": count,
        "accuracy_mean": float(accuracies.mean()),
        "accuracy_std": float(accuracies.std(ddof=1)),
        "results": results,
    }
