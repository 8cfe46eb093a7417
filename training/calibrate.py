"""What is fitted after training: class means, temperature, thresholds; each on the very artefact that will use it."""

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import nn

from app.bundle import Calibration, Thresholds
from app.engine import Scores
from app.network import Network
from training.data import Digits
from training.evaluate import ACCEPT_ALL
from training.graph import run_graph, set_temperature
from training.train import predict

ACCEPTED = 0.995  # share of held-out digits that the thresholds let pass, all reasons together


@torch.no_grad()
def fit_class_means(network: Network, digits: Digits) -> None:
    """Store the direction in which the features of each class lie."""
    features = torch.cat([network.penultimate(part) for part in digits.images[:20_000].split(1_000)])
    features = nn.functional.normalize(features, dim=1)
    labels = digits.labels[:20_000]
    means = torch.stack([features[labels == digit].mean(dim=0) for digit in range(10)])
    network.class_means.copy_(nn.functional.normalize(means, dim=1))


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


def calibration(temperature: float, scores: Scores, held_out: Digits | None) -> Calibration:
    """Set thresholds so that held-out digits pass at the agreed share: half of what fails, for either reason.

    Without held-out digits, everything passes.
    """
    if held_out is None:
        return Calibration(temperature=temperature, thresholds=ACCEPT_ALL, digits=0)
    share = (1 - ACCEPTED) / 2

    def floor(values: NDArray[np.float32]) -> float:
        return math.floor(float(np.quantile(values, share)) * 1e4) / 1e4

    thresholds = Thresholds(confidence=floor(scores.probabilities.max(axis=1)), typicality=floor(scores.typicality))
    return Calibration(temperature=temperature, thresholds=thresholds, digits=len(held_out))
