"""What is fitted after training: temperature, thresholds, gate; each on the very artefact that will use it."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from app.inference.model_folder import Cascade, Thresholds
from app.inference.cascade import is_below
from app.inference.scores import Scores
from app.inference.networks import Network
from training.data.mnist import Digits
from training.export.onnx_graph import run_graph, set_temperature
from training.trainer import predict

ACCEPTED = 0.995  # share of held-out digits that the thresholds let pass, all reasons together
UNSURE = 0.2  # of what is refused so, the part that is for doubt of which digit; the rest is for doubt that it is one
# Shares of the digits that a cascade's careful network reads for each kind of doubt.
WHICH_DIGIT = 0.015
A_DIGIT_AT_ALL = 0.008


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


def together(fast: Scores, careful: Scores, gate: Thresholds) -> Scores:
    """What a cascade answers, from what both of its networks answer."""
    unsure = is_below(fast, gate)
    return Scores(
        np.where(unsure[:, None], careful.probabilities, fast.probabilities),
        np.where(unsure, careful.typicality, fast.typicality),
    )


def fit_cascade(fast: Scores, careful: Scores) -> Cascade:
    """Set the gate by what the careful network may cost, and the thresholds of the two together.

    A narrower gate that seems free on held-out digits is not taken: too few of them are misread to show its price. A
    digit and a half in a hundred, read by a network twenty times as dear, add a third to the cost. Doubt that it is a
    digit at all passes on twice as many as the thresholds refuse for it: of held-out junk 1.2 % was accepted so, and
    1.4 % where it passed on as many.
    """
    gate = Thresholds(
        confidence=floor(fast.probabilities.max(axis=1), WHICH_DIGIT),
        typicality=floor(fast.typicality, A_DIGIT_AT_ALL),
    )
    return Cascade(
        gate=gate,
        passed_on=float(is_below(fast, gate).mean()),
        thresholds=fit_thresholds(together(fast, careful, gate)),
    )
