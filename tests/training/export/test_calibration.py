"""Calibration fits the right values, each on the file that ships."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.inference.cascade import is_below
from app.inference.engine_selection import open_engine
from app.inference.model_folder import ModelFolder, Thresholds
from app.inference.scores import Scores
from tests.support.small_training import EARLY, vary
from training.data.mnist import Digits
from training.data.populations import FULL_POPULATION, HeldOut
from training.evaluation.metrics import score_all
from training.export.calibration import (
    GATE_CONFIDENCE_SHARE,
    REFUSED_SHARE,
    UNCERTAIN_SHARE,
    WRONG_SHARE,
    WRONG_SHARE_ELSEWHERE,
    combine_scores,
    find_confidence,
    fit_cascade,
    fit_temperature,
    fit_thresholds,
)
from training.export.model_writer import export_run
from training.runs import Run


def test_the_fitted_temperature_is_the_one_that_was_applied() -> None:
    """Probabilities drawn at one temperature and reported at another are corrected."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (20_000, 10))

    def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
        exponents = np.exp(values - values.max(1, keepdims=True))
        return np.asarray(exponents / exponents.sum(1, keepdims=True))

    labels = np.array([generator.choice(10, p=row) for row in softmax(logits / 2.5)])
    assert fit_temperature(softmax(logits).astype(np.float32), labels) == pytest.approx(2.5, rel=0.05)


def test_a_network_without_errors_keeps_its_temperature() -> None:
    """If nothing is misread, there is nothing to fit, and confidence does not rise to certainty."""
    probabilities = np.full((10, 10), 0.05, np.float32) + 0.5 * np.eye(10, dtype=np.float32)
    assert fit_temperature(probabilities, np.arange(10)) == 1.0


def test_each_file_is_calibrated_on_itself(small_model: ModelFolder, small_parts: tuple[Digits, HeldOut]) -> None:
    """For both files, fitting again changes nothing, and the thresholds accept 98 % or more of held-out digits."""
    held_out = small_parts[1].digits
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


def make_held_out(**labels: NDArray[np.int64]) -> HeldOut:
    """Make populations of digits with these labels. Their pictures are not read here."""
    return HeldOut({key: Digits(torch.zeros(len(of), 28, 28), torch.from_numpy(of)) for key, of in labels.items()})


def make_scores(
    labels: NDArray[np.int64],
    confidence: NDArray[np.float64],
    wrong: NDArray[np.int64],
    typicality: NDArray[np.float64] | None = None,
) -> Scores:
    """Make the scores of a network that misreads the digits at the indices ``wrong``."""
    read = labels.copy()
    read[wrong] = (read[wrong] + 1) % 10
    probabilities = np.repeat(((1 - confidence) / 9)[:, None], 10, axis=1)
    probabilities[np.arange(len(labels)), read] = confidence
    typicality = np.full(len(labels), 0.99) if typicality is None else typicality
    return Scores(probabilities.astype(np.float32), typicality.astype(np.float32))


def make_unsure_scores(labels: NDArray[np.int64], wrong: int, seed: int) -> Scores:
    """Make the scores of a network that misreads ``wrong`` digits, all among the seventy that it is least sure of."""
    generator = np.random.default_rng(seed)
    confidence = generator.uniform(0.9, 1, len(labels))
    unsure = generator.choice(len(labels), 70, replace=False)
    confidence[unsure] = generator.uniform(0.5, 0.8, 70)
    return make_scores(labels, confidence, unsure[:wrong])


def test_each_population_counts_the_same_for_the_temperature() -> None:
    """The temperature on a population of 500 and one of 2,500 is the one where the smaller is repeated five times."""
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(0, 2, (3_000, 10)), generator.integers(0, 10, 3_000)
    logits[np.arange(2_500), labels[:2_500]] += 6  # the larger population is read better
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    repeated = np.concatenate([np.arange(2_500), np.tile(np.arange(2_500, 3_000), 5)])
    weights = make_held_out(mnist=labels[:2_500], swiss=labels[2_500:]).weights
    weighted = fit_temperature(probabilities.astype(np.float32), labels, weights)
    expected = fit_temperature(probabilities[repeated].astype(np.float32), labels[repeated])
    assert weighted == pytest.approx(expected, rel=1e-3)
    assert weighted != pytest.approx(fit_temperature(probabilities.astype(np.float32), labels), rel=0.1)


@pytest.mark.parametrize(
    ("wrong", "accepted"),
    [
        ([], 2_000),
        ([1_000, 1_500, 1_999], 2_000),  # three of 2,000 may be wrong: 0.15 %
        ([0], 2_000),  # an error that is accepted with all others
        ([1_996, 1_997, 1_998, 1_999], 1_998),  # three of 1,999 would be more than 0.15 %
        ([0, 1_500, 1_600, 1_700], 1_600),
        ([100, 200, 300, 400], 100),  # only without the first error
        ([0, 1, 2, 3], 0),  # surest of all
    ],
)
def test_no_more_is_refused_than_needed(wrong: list[int], accepted: int) -> None:
    """Of 2,000 digits, the surest first, the threshold accepts the most of which at most 0.15 % are wrong."""
    confidence = (0.99995 - 2e-4 * np.arange(2_000)).astype(np.float32)
    is_wrong = np.isin(np.arange(2_000), wrong)
    shuffled = np.random.default_rng(0).permutation(2_000)
    threshold = find_confidence(confidence[shuffled], is_wrong[shuffled], 0.0015)
    assert (confidence >= threshold).sum() == accepted
    assert round(threshold, 4) == threshold


def count_wrong_share(scores: Scores, held_out: HeldOut, thresholds: Thresholds, population: int) -> float:
    """Return the share of wrong digits among the accepted ones of a population."""
    accepted = ~is_below(scores, thresholds) & (held_out.population == population)
    is_wrong = scores.probabilities.argmax(axis=1) != held_out.digits.labels.numpy()
    return float(is_wrong[accepted].mean())


@pytest.mark.parametrize("first", [4_000, 1_000])
def test_thresholds_hold_on_the_worse_population(first: int) -> None:
    """Five confident errors are too many among 1,000 digits of one population, though not among all 5,000. Of a
    population other than MNIST, twice the share may be wrong."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, 5_000)
    confidence, wrong = generator.uniform(0.95, 1, 5_000), np.arange(5) + (4_500 if first == 4_000 else 500)
    confidence[wrong] = 0.949
    scores = make_scores(labels, confidence, wrong)
    both = make_held_out(one=labels[:first], other=labels[first:])
    thresholds = fit_thresholds(scores, both)
    assert thresholds.confidence == pytest.approx(0.949, abs=2e-4)
    shares = [count_wrong_share(scores, both, thresholds, population) for population in (0, 1)]
    assert max(shares) <= WRONG_SHARE_ELSEWHERE == 2 * WRONG_SHARE["mnist"]
    assert fit_thresholds(scores, make_held_out(all=labels)).confidence == 0


@pytest.mark.parametrize(("name", "lowest"), [("mnist", 0.948), ("swiss", 0)])
def test_mnist_has_a_stricter_share(name: str, lowest: float) -> None:
    """Two errors among 1,000 accepted digits are too many for MNIST, and not for the Swiss writers."""
    labels = np.random.default_rng(0).integers(0, 10, 1_000)
    confidence = np.full(1_000, 0.99)
    confidence[:2] = 0.947
    scores = make_scores(labels, confidence, np.arange(2))
    assert fit_thresholds(scores, make_held_out(**{name: labels})).confidence == pytest.approx(lowest, abs=2e-3)


@pytest.mark.parametrize("count", [FULL_POPULATION - 1, FULL_POPULATION])
def test_a_small_population_does_not_set_the_threshold(count: int) -> None:
    """Below 500 digits, a single error would be more than its share."""
    labels = np.random.default_rng(0).integers(0, 10, 2_000 + count)
    confidence = np.full(len(labels), 0.99)
    confidence[-1] = 0.9
    scores = make_scores(labels, confidence, np.array([len(labels) - 1]))
    thresholds = fit_thresholds(scores, make_held_out(own=labels[:2_000], mnist=labels[2_000:]))
    assert thresholds.confidence == (0 if count < FULL_POPULATION else pytest.approx(0.9, abs=2e-4))


def test_confidence_refuses_only_a_few_whatever_is_wrong() -> None:
    """Some labels are wrong themselves: errors as sure as all else do not raise the threshold without a limit."""
    generator = np.random.default_rng(0)
    labels, confidence = generator.integers(0, 10, 4_000), generator.uniform(0.9, 0.99, 4_000)
    confidence[:40] = 0.9999
    scores, held_out = make_scores(labels, confidence, np.arange(40)), make_held_out(mnist=labels)
    refused = is_below(scores, fit_thresholds(scores, held_out)).mean()
    assert UNCERTAIN_SHARE / 2 < refused <= UNCERTAIN_SHARE


def test_what_is_refused_as_untypical_need_not_be_refused_again() -> None:
    """Errors below the typicality threshold do not raise that of confidence."""
    generator = np.random.default_rng(0)
    labels, wrong = generator.integers(0, 10, 2_000), np.arange(10)
    typicality = generator.uniform(0.9, 1, 2_000)
    typicality[wrong] = 0.1
    scores = make_scores(labels, np.full(2_000, 0.9), wrong, typicality)
    thresholds = fit_thresholds(scores, make_held_out(mnist=labels))
    assert thresholds.typicality > 0.1
    assert thresholds.confidence == 0


def test_each_population_counts_the_same_for_typicality() -> None:
    """The least typical digits are all of the smaller population. As many are refused as its weight allows."""
    generator = np.random.default_rng(0)
    labels, typicality = generator.integers(0, 10, 10_000), generator.uniform(0.5, 1, 10_000)
    typicality[9_000:] -= 0.5
    held_out = make_held_out(mnist=labels[:9_000], swiss=labels[9_000:])
    scores = make_scores(labels, np.full(10_000, 0.9), np.arange(0), typicality)
    is_refused = is_below(scores, fit_thresholds(scores, held_out))
    assert is_refused.sum() == is_refused[9_000:].sum() == pytest.approx(2 * REFUSED_SHARE * 1_000, abs=1)


def test_the_gate_passes_on_what_the_fast_network_may_misread() -> None:
    """If the fast network only errs when unsure, the cascade reads as well as the careful network."""
    labels = np.random.default_rng(0).integers(0, 10, 5_000)
    fast, careful = make_unsure_scores(labels, 60, 1), make_unsure_scores(labels, 10, 2)
    held_out = make_held_out(mnist=labels)
    cascade = fit_cascade(fast, careful, held_out)
    both = combine_scores(fast, careful, cascade.gate)
    assert (both.probabilities.argmax(axis=1) != labels).sum() <= 10
    assert cascade.thresholds == fit_thresholds(both, held_out)
    assert cascade.passed_on == pytest.approx(is_below(fast, cascade.gate).mean())
    assert cascade.passed_on == pytest.approx(GATE_CONFIDENCE_SHARE, abs=0.002)


def test_each_population_counts_the_same_for_the_gate() -> None:
    """If all unsure answers are to the smaller population, that share of the weight is passed on, not of the digits."""
    generator = np.random.default_rng(0)
    labels, confidence = generator.integers(0, 10, 10_000), generator.uniform(0.9, 1, 10_000)
    confidence[9_000:] -= 0.2
    scores = make_scores(labels, confidence, np.arange(0))
    cascade = fit_cascade(scores, scores, make_held_out(mnist=labels[:9_000], swiss=labels[9_000:]))
    assert cascade.passed_on == pytest.approx(GATE_CONFIDENCE_SHARE, abs=0.001)
    assert is_below(scores, cascade.gate).sum() == pytest.approx(2 * GATE_CONFIDENCE_SHARE * 1_000, abs=2)
