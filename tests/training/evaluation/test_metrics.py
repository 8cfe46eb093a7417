"""Metrics agree with values worked out by hand or by another library."""

import math

import numpy as np
import pytest

from app.inference.model_folder import Thresholds
from training.evaluation.metrics import group_by_confidence, measure

ACCEPT_ALL = Thresholds(confidence=0, typicality=0)


def make_probabilities(read: list[int], confidence: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    probabilities = np.full((len(read), 10), (1 - confidence) / 9, np.float32)
    probabilities[np.arange(len(read)), read] = confidence
    return probabilities


def test_values_worked_out_by_hand() -> None:
    """Ten digits, one of them misread, all at 90 % confidence."""
    labels = np.arange(10)
    result = measure(
        make_probabilities([0, 1, 2, 3, 4, 5, 6, 7, 8, 8], 0.9), labels, np.ones(10, np.float32), ACCEPT_ALL
    )
    assert (result["digits"], result["errors"], result["accuracy"]) == (10, 1, 0.9)
    assert result["nll"] == pytest.approx(-(9 * math.log(0.9) + math.log(0.1 / 9)) / 10, abs=1e-5)
    correct, wrong = 0.1**2 + 9 * (0.1 / 9) ** 2, 0.9**2 + (1 - 0.1 / 9) ** 2 + 8 * (0.1 / 9) ** 2
    assert result["brier"] == pytest.approx((9 * correct + wrong) / 10, abs=1e-5)
    assert result["confusion"][9][8] == 1
    assert result["classes"][9] == {"digit": 9, "precision": 0.0, "recall": 0.0, "f1": 0.0, "digits": 1}
    assert result["classes"][8]["precision"] == 0.5
    assert result["classes"][8]["f1"] == pytest.approx(2 / 3)
    assert result["misread"] == [{"index": 9, "label": 9, "read": 8, "confidence": 0.9}]
    # Wilson's interval for 9 of 10, as in textbooks.
    assert result["accuracy_95"] == pytest.approx([0.5958, 0.9821], abs=1e-3)


def test_acceptance_is_counted_at_the_thresholds() -> None:
    """An answer below either threshold is not accepted, and does not lower the accuracy of accepted answers."""
    probabilities = np.concatenate([make_probabilities([0, 1, 2], 0.9), make_probabilities([0], 0.4)])
    typicality = np.array([1, 1, 0, 1], np.float32)
    labels = np.array([0, 1, 5, 5])
    result = measure(probabilities, labels, typicality, Thresholds(confidence=0.5, typicality=0.5))
    assert (result["accuracy"], result["accepted"], result["accuracy_of_accepted"]) == (0.5, 0.5, 1.0)


def test_calibration_error_is_the_gap_between_doubt_and_error() -> None:
    """True probabilities have nearly no calibration error. Overstated ones have as much as they are overstated."""
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.3, 1.0, 60_000).astype(np.float32)
    is_correct = generator.uniform(size=60_000) < confidence

    def compute_gap(bins: list[dict[str, float]]) -> float:
        return sum(b["digits"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / 60_000

    bins = group_by_confidence(confidence, is_correct)
    assert {b["digits"] for b in bins} == {4_000}
    assert compute_gap(bins) < 0.01
    assert compute_gap(
        group_by_confidence(np.minimum(confidence + 0.1, 1.1).astype(np.float32), is_correct)
    ) == pytest.approx(0.1, abs=0.01)
