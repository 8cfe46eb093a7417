"""Measures how well a model reads digits, and how well its probabilities are calibrated."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from app.inference.cascade import is_below
from app.inference.engine_selection import open_engine
from app.inference.engines import Engine
from app.inference.model_folder import EngineName, ModelFolder, Thresholds
from app.inference.scores import Scores, concatenate
from training.data.mnist import Digits

BINS = 15  # of the reliability diagram, each with the same number of digits
RESAMPLINGS = 100  # of the digits, for the interval of the calibration error
ENGINES: tuple[EngineName, ...] = ("onnxruntime", "torch")
ACCEPT_ALL = Thresholds(confidence=0, typicality=0)


def score_all(engine: Engine, images: NDArray[np.uint8], batch: int = 500) -> Scores:
    """Run any number of pictures ``(N, 28, 28)`` through an engine."""
    return concatenate([engine(images[start : start + batch]) for start in range(0, len(images), batch)])


def measure(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
    typicality: NDArray[np.float32],
    thresholds: Thresholds,
) -> dict[str, Any]:
    """Measure probabilities ``(N, 10)`` against labels ``(N,)``. All figures are shares, not percentages.

    ``accuracy_95`` is Wilson's interval. ``brier`` is the multi-class score of Brier 1950, from 0 to 2. ``ece`` is the
    expected calibration error over bins of equal mass (Nixon et al. 2019, "Measuring Calibration in Deep Learning"),
    and ``ece_95`` its interval over resampled digits. ``aurc`` is the area under the risk-coverage curve (Geifman et
    al. 2019, "Bias-Reduced Uncertainty Estimation"): the mean share misread among the surest 1, 2, ... N digits.
    """
    count = len(labels)
    read = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    is_correct = read == labels
    interval = binomtest(int(is_correct.sum()), count).proportion_ci(method="wilson")
    precision, recall, f1, support = precision_recall_fscore_support(labels, read, labels=range(10), zero_division=0.0)
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    bins = group_by_confidence(confidence, is_correct)
    accepted = ~is_below(Scores(probabilities, typicality), thresholds)
    misread = np.flatnonzero(~is_correct)
    surest_first = (-confidence).argsort(kind="stable")
    return {
        "digits": count,
        "errors": len(misread),
        "accuracy": float(is_correct.mean()),
        "accuracy_95": [float(interval.low), float(interval.high)],
        "nll": float(log_loss(labels, exact, labels=range(10))),
        "brier": float(((exact - np.eye(10)[labels]) ** 2).sum(axis=1).mean()),
        "ece": compute_calibration_error(bins),
        "ece_95": resample_calibration_error(confidence, is_correct),
        "aurc": float((np.cumsum(~is_correct[surest_first]) / np.arange(1, count + 1)).mean()),
        "accepted": float(accepted.mean()),
        "accuracy_of_accepted": float(is_correct[accepted].mean()) if accepted.any() else None,
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


def group_by_confidence(confidence: NDArray[np.float32], is_correct: NDArray[np.bool_]) -> list[dict[str, float]]:
    """Group digits by confidence into bins of equal mass. Return mean confidence and accuracy of each bin."""
    order = confidence.argsort(kind="stable")
    return [
        {
            "digits": len(index),
            "confidence": float(confidence[index].mean()),
            "accuracy": float(is_correct[index].mean()),
        }
        for index in np.array_split(order, min(BINS, len(order)))
    ]


def compute_calibration_error(bins: list[dict[str, float]]) -> float:
    """Return the mean gap between confidence and accuracy over the digits in these bins."""
    count = sum(b["digits"] for b in bins)
    return sum(b["digits"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / count


def resample_calibration_error(confidence: NDArray[np.float32], is_correct: NDArray[np.bool_]) -> list[float]:
    """Return the middle 95 % of the calibration error over resamplings of the digits."""
    generator = np.random.default_rng(0)
    draws = (generator.integers(0, len(is_correct), len(is_correct)) for _ in range(RESAMPLINGS))
    errors = [compute_calibration_error(group_by_confidence(confidence[draw], is_correct[draw])) for draw in draws]
    return [float(edge) for edge in np.quantile(errors, [0.025, 0.975])]


def measure_model(model: ModelFolder, digits: Digits) -> dict[EngineName, dict[str, Any]]:
    """Measure a model with each engine: the graph that ships and the checkpoint that it was made from.

    For a cascade, ``alone`` has the accuracy of each network on its own.
    """
    results = {}
    labels = digits.labels.numpy()
    for name in ENGINES:

        def score(network: str | None, name: EngineName = name) -> Scores:
            engine = open_engine(model, name, "cpu", torch.get_num_threads(), network)
            return score_all(engine, digits.images.numpy())

        scores = score(None)
        thresholds = model.manifest.thresholds(name, None)
        results[name] = measure(scores.probabilities, labels, scores.typicality, thresholds)
        if model.manifest.has_cascade:
            results[name]["alone"] = {
                network: float((score(network).probabilities.argmax(axis=1) == labels).mean())
                for network in model.manifest.networks
            }
    return results
