"""Cross-validation: measures a recipe on the training split alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from training.data.mnist import Digits, make_folds
from training.evaluation.metrics import ACCEPT_ALL, measure
from training.recipes import Recipe
from training.trainer import fit, predict


def cross_validate(
    recipe: Recipe,
    digits: Digits,
    count: int,
    seed: int,
    device: torch.device,
    on_fold: Callable[[int, dict[str, Any]], None],
) -> dict[str, Any]:
    """Train a recipe ``count`` times on all folds but one, and measure each network on the fold that was left out."""
    results = []
    for fold, (kept, left_out) in enumerate(make_folds(digits, count), start=1):
        run = fit(recipe, digits.take(kept), seed=seed, device=device)
        validation = digits.take(left_out)
        probabilities, typicality = predict(run.network, validation.images)
        result = measure(probabilities.numpy(), validation.labels.numpy(), typicality.numpy(), ACCEPT_ALL)
        results.append(result)
        on_fold(fold, result)
    accuracies = np.array([result["accuracy"] for result in results])
    return {
        "recipe": recipe.name,
        "folds": count,
        "accuracy_mean": float(accuracies.mean()),
        "accuracy_std": float(accuracies.std(ddof=1)),
        "results": results,
    }
