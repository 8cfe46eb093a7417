"""Fits temperature, thresholds and gate after training, each on the file that will use it."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from app.inference.cascade import is_below
from app.inference.model_folder import Cascade, Thresholds
from app.inference.networks import Network
from app.inference.scores import Scores
from training.data.mnist import Digits
from training.export.onnx_graph import run_graph, set_temperature
from training.trainer import predict

ACCEPTED_SHARE = 0.995  # of held-out digits, by both thresholds together
UNCERTAIN_SHARE = 0.2  # of the refused digits, those refused for confidence; the rest is refused for typicality
# Shares of held-out digits below the gate, by score.
GATE_CONFIDENCE_SHARE = 0.015
GATE_TYPICALITY_SHARE = 0.008


def fit_temperature(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the temperature that maximises the likelihood of the labels, relative to the one already applied.

    If nothing is misread, there are no errors to fit doubt to: the best temperature would be 0. Then the temperature
    stays as it is.
    """
    if (probabilities.argmax(axis=1) == labels).all():
        return 1.0
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-12))

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        scaled -= np.logaddexp.reduce(scaled, axis=1, keepdims=True)
        return float(-scaled[np.arange(len(labels)), labels].mean())

    return math.exp(minimize_scalar(negative_log_likelihood, bounds=(-3, 3), method="bounded").x)


def fit_network_temperature(network: Network, held_out: Digits) -> None:
    """Fit the temperature of a network, and set it in the network."""
    probabilities, _ = predict(network, held_out.images)
    network.temperature.mul_(fit_temperature(probabilities.numpy(), held_out.labels.numpy()))


def fit_graph_temperature(graph: Path, temperature: float, held_out: Digits) -> float:
    """Fit the temperature of a graph, set it in the graph, and return it.

    Args:
        temperature: The temperature that the graph has now.
    """
    relative = fit_temperature(run_graph(graph, held_out.images.numpy()).probabilities, held_out.labels.numpy())
    set_temperature(graph, temperature * relative)
    return temperature * relative


def quantile_rounded_down(values: NDArray[np.float32], share: float) -> float:
    """Return the value that all but this share of the values reach, rounded down to four places."""
    return math.floor(float(np.quantile(values, share)) * 1e4) / 1e4


def fit_thresholds(scores: Scores) -> Thresholds:
    """Set the thresholds that accept ``ACCEPTED_SHARE`` of held-out digits.

    Most of the refused digits are refused for typicality. With a fifth of them refused for confidence, 3.7 % of
    held-out outliers were accepted; with a half, 4.7 %. The price is one more misread digit that was accepted, of
    5,000 held-out digits.
    """
    refused = 1 - ACCEPTED_SHARE
    return Thresholds(
        confidence=quantile_rounded_down(scores.probabilities.max(axis=1), refused * UNCERTAIN_SHARE),
        typicality=quantile_rounded_down(scores.typicality, refused * (1 - UNCERTAIN_SHARE)),
    )


def combine_scores(fast: Scores, careful: Scores, gate: Thresholds) -> Scores:
    """Return what a cascade answers, from the scores of both its networks."""
    unsure = is_below(fast, gate)
    return Scores(
        np.where(unsure[:, None], careful.probabilities, fast.probabilities),
        np.where(unsure, careful.typicality, fast.typicality),
    )


def fit_cascade(fast: Scores, careful: Scores) -> Cascade:
    """Set the gate by what the careful network may cost, and the thresholds for both networks together.

    A lower gate seems to cost no accuracy on held-out digits, but too few of them are misread to show the cost. The
    careful network takes twenty times as long, so reading 1.5 % of the digits with it adds a third to the cost. The
    gate passes on twice as many digits for typicality as the thresholds refuse for it: so 1.2 % of held-out outliers
    were accepted, and 1.4 % if it passed on only as many.
    """
    gate = Thresholds(
        confidence=quantile_rounded_down(fast.probabilities.max(axis=1), GATE_CONFIDENCE_SHARE),
        typicality=quantile_rounded_down(fast.typicality, GATE_TYPICALITY_SHARE),
    )
    return Cascade(
        gate=gate,
        passed_on=float(is_below(fast, gate).mean()),
        thresholds=fit_thresholds(combine_scores(fast, careful, gate)),
    )
