"""Calibration fits the right values, each on the file that ships."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.inference.cascade import is_below
from app.inference.engine_selection import open_engine
from app.inference.model_folder import ModelFolder
from app.inference.scores import Scores
from tests.support.small_training import EARLY, vary
from training.data.mnist import Digits
from training.data.populations import HeldOut
from training.evaluation.metrics import score_all
from training.export.calibration import GATE_CONFIDENCE_SHARE, combine_scores, fit_cascade, fit_temperature
from training.export.model_writer import export_run
from training.runs import Run


def test_the_fitted_temperature_is_the_one_that_was_applied() -> None:
    """Probabilities drawn at one temperature and reported at another are corrected."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (20_000, 10))

    def softmax(
        values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        exponents = np.exp(values - values.max(1, keepdims=True))
        return np.asarray(exponents / exponents.sum(1, keepdims=True))

    labels = np.array([generator.choice(10, p=row) for row in softmax(logits / 2.5)])
    assert fit_temperature(softmax(logits).astype(np.float32), labels) == pytest.approx(2.5, rel=0.05)


def test_a_network_without_errors_keeps_its_temperature() -> None:
    """If nothing is misread, there is nothing to fit, and confidence does not rise to certainty."""
    probabilities = np.full((10, 10), 0.05, np.float32) + 0.5 * np.eye(10, dtype=np.float32)
    assert fit_temperature(probabilities, np.arange(10)) == 1.0


def test_each_file_is_calibrated_on_itself(small_model: ModelFolder, small_parts: tuple[Digits, HeldOut]) -> None:
    """For both files, fitting again changes nothing, and the thresholds accept 99.5 % of held-out digits."""
    _, held_out = small_parts
    for name in ("onnxruntime", "torch"):
        scores = score_all(open_engine(small_model, name, "cpu", 1), held_out.images.numpy())
        assert (scores.probabilities.argmax(1) != held_out.labels.numpy()).any()  # so there is something to fit
        assert fit_temperature(scores.probabilities, held_out.labels.numpy()) == pytest.approx(1, abs=0.03)
        thresholds = small_model.manifest.thresholds(name, None)
        passed = (scores.probabilities.max(1) >= thresholds.confidence) & (scores.typicality >= thresholds.typicality)
        assert 0.98 <= passed.mean() <= 1


def test_without_held_out_digits_nothing_is_calibrated(
    early_run: Run, small_parts: tuple[Digits, HeldOut], tmp_path: Path
) -> None:
    """A recipe that holds out nothing gets thresholds that accept everything, and its manifest says so."""
    run = replace(early_run, recipe=vary(EARLY, hold_out=0))
    model = export_run(run, small_parts[0], None, tmp_path / "m", "0.0.0")
    for calibration in model.manifest.calibration.values():
        (fitted,) = calibration.networks.values()
        assert (fitted.temperature, calibration.digits) == (1.0, 0)
        assert (fitted.thresholds.confidence, fitted.thresholds.typicality) == (0, 0)


def make_scores(labels: np.ndarray[tuple[int], np.dtype[np.int64]], wrong: int, seed: int) -> Scores:
    """Make the scores of a network that misreads ``wrong`` digits, all among the seventy that it is least sure of."""
    generator = np.random.default_rng(seed)
    confidence = generator.uniform(0.9, 1, len(labels))
    unsure = generator.choice(len(labels), 70, replace=False)
    confidence[unsure] = generator.uniform(0.5, 0.8, 70)
    read = labels.copy()
    read[unsure[:wrong]] = (read[unsure[:wrong]] + 1) % 10
    probabilities = np.repeat(((1 - confidence) / 9)[:, None], 10, axis=1)
    probabilities[np.arange(len(labels)), read] = confidence
    return Scores(probabilities.astype(np.float32), np.full(len(labels), 0.99, np.float32))


def test_the_gate_passes_on_what_the_fast_network_may_misread() -> None:
    """If the fast network only errs when unsure, the cascade reads as well as the careful network."""
    labels = np.random.default_rng(0).integers(0, 10, 5_000)
    fast, careful = make_scores(labels, 60, 1), make_scores(labels, 10, 2)
    cascade = fit_cascade(fast, careful)
    both = combine_scores(fast, careful, cascade.gate)
    assert (both.probabilities.argmax(axis=1) != labels).sum() <= 10
    assert cascade.passed_on == pytest.approx(is_below(fast, cascade.gate).mean())
    assert cascade.passed_on == pytest.approx(GATE_CONFIDENCE_SHARE, abs=0.002)
