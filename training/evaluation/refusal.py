"""Measures how well a model refuses pictures that are not digits."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from app.imaging.normalize import normalize
from app.inference.cascade import is_below
from app.inference.engine_selection import open_engine
from app.inference.model_folder import CASCADE, ModelFolder
from app.inference.networks import DIGITS
from app.inference.torch_engine import TorchEngine
from training.data.mnist import Digits
from training.data.out_of_distribution import Pictures
from training.evaluation.metrics import score_all

# Scores that can tell a digit from another picture. The model uses the first; the others are the usual baselines.
SCORES = ("typicality", "max softmax", "energy")


def measure_refusal(model: ModelFolder, digits: Digits, pictures: dict[str, Pictures]) -> dict[str, dict[str, Any]]:
    """Measure how a model, as it ships, tells sets of other pictures from digits.

    Returns:
        For each set: ``accepted`` is the share that the service would accept, with its normalisation and the model's
        thresholds. ``accepted_as`` is the digit that each picture is accepted as, ``(N,)``, or -1 if it is refused.
        ``auroc`` and ``false_accepts`` have a value for each of ``SCORES``, computed on the pictures without
        normalisation. ``false_accepts`` is the share at or above the value that 99.5 % of the digits reach.
    """
    engine = open_engine(model, "onnxruntime", "cpu", torch.get_num_threads())
    thresholds = model.manifest.thresholds("onnxruntime", None)
    last = CASCADE[-1] if model.manifest.has_cascade else next(iter(model.manifest.networks))
    network = TorchEngine(model, last, "cpu", torch.get_num_threads()).network

    def compute_scores(images: Pictures) -> dict[str, NDArray[np.float32]]:
        scores = score_all(engine, images)
        with torch.inference_mode():
            parts = torch.from_numpy(images.copy()).split(500)
            energy = torch.cat([network.logits(part)[:, :DIGITS].logsumexp(dim=1) for part in parts])
        confidence = scores.probabilities.max(axis=1)
        return dict(zip(SCORES, (scores.typicality, confidence, energy.numpy()), strict=True))

    of_digits = compute_scores(digits.images.numpy())
    results: dict[str, dict[str, Any]] = {}
    for name, images in pictures.items():
        normalized = [normalize(image) for image in images]
        served = score_all(engine, np.stack([each.pixels for each in normalized]))
        accepted = ~is_below(served, thresholds) & ~np.array([each.blank for each in normalized])
        of_others = compute_scores(images)
        is_digit = np.repeat([1, 0], [len(digits), len(images)])
        results[name] = {
            "accepted": float(accepted.mean()),
            "accepted_as": np.where(accepted, served.probabilities.argmax(axis=1), -1),
            "auroc": {
                score: float(roc_auc_score(is_digit, np.concatenate([of_digits[score], of_others[score]])))
                for score in SCORES
            },
            "false_accepts": {
                score: float((of_others[score] >= np.quantile(of_digits[score], 0.005)).mean()) for score in SCORES
            },
        }
    return results
