"""What is fitted after training: temperature, thresholds, gate; each on the very artefact that will use it."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.model_selection import StratifiedKFold

from app.bundle import Cascade, Thresholds
from app.engine import Scores, below
from app.network import Network
from training.data import Digits
from training.graph import run_graph, set_temperature
from training.train import predict

ACCEPTED = 0.995  # share of held-out digits that the thresholds let pass, all reasons together
UNSURE = 0.2  # of what is refused so, the part that is for doubt of which digit; the rest is for doubt that it is one
PASSED_ON = (0.002, 0.004, 0.006, 0.008, 0.01, 0.0125, 0.015, 0.02)  # shares, for either reason, that a gate may have
EXTRA_ERRORS = 1e-4  # share of digits that a cascade may misread beyond those that its careful network does


def fit_temperature(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The temperature, relative to the one already applied, at which the labels are likeliest.

    Where nothing is misread there is no error to learn doubt from: the likeliest temperature would be 0, and the one
    already applied stays.
    """
    if (probabilities.argmax(axis=1) == labels).all():
        return 1.0
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-12))

    def nll(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        scaled -= np.logaddexp.reduce(scaled, axis=1, keepdims=True)
        return float(-scaled[np.arange(len(labels)), labels].mean())

    return math.exp(minimize_scalar(nll, bounds=(-3, 3), method="bounded").x)


def fit_temperature_of(network: Network, held_out: Digits) -> None:
    """Fit the temperature of a network, and keep it there."""
    probabilities, _ = predict(network, held_out.images)
    network.temperature.mul_(fit_temperature(probabilities.numpy(), held_out.labels.numpy()))


def fit_temperature_in(graph: Path, temperature: float, held_out: Digits) -> float:
    """Fit the temperature of a graph that has this one, and keep it there."""
    relative = fit_temperature(run_graph(graph, held_out.images.numpy()).probabilities, held_out.labels.numpy())
    set_temperature(graph, temperature * relative)
    return temperature * relative


def floor(values: NDArray[np.float32], share: float) -> float:
    """The value that all but this share of them reach, to four places."""
    return math.floor(float(np.quantile(values, share)) * 1e4) / 1e4


def fit_thresholds(scores: Scores) -> Thresholds:
    """Set thresholds so that held-out digits pass at the agreed share.

    Most of what is refused is for typicality: with a fifth for confidence, held-out junk was accepted less (3.7 %, and
    4.7 % with a half), and of 5,000 held-out digits one more was accepted though misread.
    """
    refused = 1 - ACCEPTED
    return Thresholds(
        confidence=floor(scores.probabilities.max(axis=1), refused * UNSURE),
        typicality=floor(scores.typicality, refused * (1 - UNSURE)),
    )


def thresholds_at(scores: Scores, share: float) -> Thresholds:
    """The thresholds that this share of digits does not reach, for either reason."""
    return Thresholds(
        confidence=floor(scores.probabilities.max(axis=1), share), typicality=floor(scores.typicality, share)
    )


def taken(scores: Scores, index: NDArray[np.int64]) -> Scores:
    return Scores(scores.probabilities[index], scores.typicality[index])


def together(fast: Scores, careful: Scores, gate: Thresholds) -> Scores:
    """What a cascade answers, from what both of its networks answer."""
    unsure = below(fast, gate)
    return Scores(
        np.where(unsure[:, None], careful.probabilities, fast.probabilities),
        np.where(unsure, careful.typicality, fast.typicality),
    )


def fit_cascade(fast: Scores, careful: Scores, labels: NDArray[np.int64]) -> Cascade:
    """Choose the gate that passes on the least, at a price of at most ``EXTRA_ERRORS`` beside the careful network.

    The price of each candidate is cross-fitted: its gate is set on four fifths of the digits and the extra errors are
    counted on the last.
    """

    def errors(scores: Scores, index: NDArray[np.int64]) -> int:
        return int((scores.probabilities[index].argmax(axis=1) != labels[index]).sum())

    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(labels, labels))
    for share in PASSED_ON:
        extra = 0
        for others, fold in folds:
            both = together(fast, careful, thresholds_at(taken(fast, others), share))
            extra += errors(both, fold) - errors(careful, fold)
        if extra <= EXTRA_ERRORS * len(labels):
            break
    gate = thresholds_at(fast, share)
    return Cascade(
        gate=gate,
        passed_on=float(below(fast, gate).mean()),
        thresholds=fit_thresholds(together(fast, careful, gate)),
    )
