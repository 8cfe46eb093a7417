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
from training.data.populations import FULL_POPULATION, HeldOut
from training.export.onnx_graph import run_graph, set_temperature
from training.trainer import predict

# All shares are of held-out digits. Where populations are not named, they count as ``HeldOut.weights`` says.
REFUSED_SHARE = 0.008  # refused for typicality; at 0.006, the service accepted 4.8 % of clothes
# Wrong among the accepted digits of each population, at most...
WRONG_SHARE = {"mnist": 0.0015}
WRONG_SHARE_ELSEWHERE = 0.003  # of 1,782 held-out Swiss digits, this is five
UNCERTAIN_SHARE = 0.02  # ...as long as no more are refused for confidence: some digits have wrong labels
# Below the gate, by score.
GATE_CONFIDENCE_SHARE = 0.03
GATE_TYPICALITY_SHARE = 0.015


def fit_temperature(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], weights: NDArray[np.float64] | None = None
) -> float:
    """Return the temperature that maximises the likelihood of the labels, relative to the one already applied.

    If nothing is misread, there are no errors to fit doubt to: the best temperature would be 0. Then the temperature
    stays as it is.

    Args:
        weights: Of each digit, adding up to 1. Without it, all digits count the same.
    """
    if (probabilities.argmax(axis=1) == labels).all():
        return 1.0
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-12))

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        scaled -= np.logaddexp.reduce(scaled, axis=1, keepdims=True)
        return -float(np.average(scaled[np.arange(len(labels)), labels], weights=weights))

    return math.exp(minimize_scalar(negative_log_likelihood, bounds=(-3, 3), method="bounded").x)


def fit_network_temperature(network: Network, held_out: HeldOut) -> None:
    """Fit the temperature of a network, and set it in the network."""
    probabilities, _ = predict(network, held_out.digits.images)
    network.temperature.mul_(fit_temperature(probabilities.numpy(), held_out.digits.labels.numpy(), held_out.weights))


def fit_graph_temperature(graph: Path, temperature: float, held_out: HeldOut) -> float:
    """Fit the temperature of a graph, set it in the graph, and return it.

    Args:
        temperature: The temperature that the graph has now.
    """
    probabilities = run_graph(graph, held_out.digits.images.numpy()).probabilities
    relative = fit_temperature(probabilities, held_out.digits.labels.numpy(), held_out.weights)
    set_temperature(graph, temperature * relative)
    return temperature * relative


def quantile_rounded_down(values: NDArray[np.float32], share: float, weights: NDArray[np.float64]) -> float:
    """Return the value that all but this share of the values reach, rounded down to four places.

    Args:
        weights: Of the values, adding up to 1.
    """
    quantile = np.quantile(values, share, method="inverted_cdf", weights=weights)
    return math.floor(float(quantile) * 1e4) / 1e4


def fit_thresholds(scores: Scores, held_out: HeldOut) -> Thresholds:
    """Set the thresholds so that they hold on every population, the worst one included.

    Typicality refuses ``REFUSED_SHARE``. Confidence is the lowest threshold at which no more of each population's
    accepted digits are wrong than ``WRONG_SHARE`` or ``WRONG_SHARE_ELSEWHERE`` allows.
    """
    typicality = quantile_rounded_down(scores.typicality, REFUSED_SHARE, held_out.weights)
    confidence = scores.probabilities.max(axis=1)
    highest = quantile_rounded_down(confidence, UNCERTAIN_SHARE, held_out.weights)
    is_wrong = scores.probabilities.argmax(axis=1) != held_out.digits.labels.numpy()
    is_typical = scores.typicality >= typicality
    needed = 0.0
    for population, (name, digits) in enumerate(held_out.by_population.items()):
        if len(digits) >= FULL_POPULATION:  # in a smaller one, such a share is less than one digit
            selected = is_typical & (held_out.population == population)
            wrong_share = WRONG_SHARE.get(name, WRONG_SHARE_ELSEWHERE)
            needed = max(needed, find_confidence(confidence[selected], is_wrong[selected], wrong_share))
    return Thresholds(confidence=min(needed, highest), typicality=typicality)


def find_confidence(confidence: NDArray[np.float32], is_wrong: NDArray[np.bool_], wrong_share: float) -> float:
    """Return the lowest threshold at which at most this share of the accepted digits is wrong, in four places."""
    surest_first = (-confidence).argsort(kind="stable")
    wrong_shares = np.cumsum(is_wrong[surest_first]) / np.arange(1, len(confidence) + 1)
    good = np.flatnonzero(wrong_shares <= wrong_share)
    accepted = good[-1] + 1 if len(good) else 0
    if accepted == len(confidence):
        return 0.0
    return math.floor(float(confidence[surest_first[accepted]]) * 1e4 + 1) / 1e4  # just above the next digit


def combine_scores(fast: Scores, careful: Scores, gate: Thresholds) -> Scores:
    """Return what a cascade answers, from the scores of both its networks."""
    unsure = is_below(fast, gate)
    return Scores(
        np.where(unsure[:, None], careful.probabilities, fast.probabilities),
        np.where(unsure, careful.typicality, fast.typicality),
    )


def fit_cascade(fast: Scores, careful: Scores, held_out: HeldOut) -> Cascade:
    """Set the gate by what the careful network may cost, and the thresholds for both networks together.

    A lower gate seems to cost no accuracy on held-out digits, but too few of them are misread to show the cost. The
    gate passes on more than twice as many digits for typicality as the thresholds refuse for it, because the committee
    is better at telling what is not a digit.
    """
    gate = Thresholds(
        confidence=quantile_rounded_down(fast.probabilities.max(axis=1), GATE_CONFIDENCE_SHARE, held_out.weights),
        typicality=quantile_rounded_down(fast.typicality, GATE_TYPICALITY_SHARE, held_out.weights),
    )
    return Cascade(
        gate=gate,
        passed_on=float(np.average(is_below(fast, gate), weights=held_out.weights)),
        thresholds=fit_thresholds(combine_scores(fast, careful, gate), held_out),
    )
