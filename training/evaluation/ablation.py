"""What each ingredient of the fast recipe gives: the recipe with one thing changed, trained and measured.

Each row is of one variant and one seed, measured on the held-out digits of the training split; the test split is never
read here. Rows are kept in ``docs/study.csv`` as they come, and what is there is not trained again, so that a study can
be stopped and gone on with.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from app.inference.networks import Network
from training.export.calibration import fit_temperature_of
from training.data.mnist import Digits
from training.evaluation.metrics import ACCEPT_ALL, append_row, commit, measure
from training.recipes import BENT, FAST, Recipe
from training.data.corruptions import CORRUPTIONS, corrupted
from training.trainer import Epoch, accuracy, fit, predict

SCHEDULE = 8  # epochs, a minute and a half on two cores

BASE = replace(FAST, epochs=SCHEDULE)

VARIANTS: dict[str, Recipe] = {
    "base": BASE,
    "no elastic": replace(BASE, augmentation=replace(BENT, elastic=0.0)),
    "no easing": replace(BASE, ease=0.0),
    "no dropout": replace(BASE, config={**FAST.config, "dropout": 0.0}),
    "no dirt": replace(BASE, dirt=0.0),
    "no junk": replace(BASE, junk=0.0),
}


def measured(log: Path) -> set[tuple[str, int]]:
    """The variants and seeds that are in the log."""
    if not log.exists():
        return set()
    with log.open(newline="") as file:
        return {(row["variant"], int(row["seed"])) for row in csv.DictReader(file)}


def study(
    training: Digits,
    held_out: Digits,
    variants: dict[str, Recipe],
    seeds: int,
    log: Path,
    device: torch.device,
    on_epoch: Callable[[str, int, Epoch], None],
) -> Iterator[dict[str, Any]]:
    """Train and measure what is not in the log yet: every variant with one seed, then with the next.

    NLL is after fitting the temperature on the same held-out digits, which is alike for every row.
    """
    for seed in range(seeds):
        for name, recipe in variants.items():
            if (name, seed) in measured(log):
                continue

            def show(epoch: Epoch, name: str = name, seed: int = seed) -> None:
                on_epoch(name, seed, epoch)

            run = fit(recipe, training, held_out, seed=seed, device=device, on_epoch=show)
            network = run.network.cpu()
            fit_temperature_of(network, held_out)
            probabilities, typicality = predict(network, held_out.images)
            result = measure(probabilities.numpy(), held_out.labels.numpy(), typicality.numpy(), ACCEPT_ALL)
            row = {
                "variant": name,
                "seed": seed,
                "epochs": recipe.epochs,
                "minutes": round(run.seconds / 60, 1),
                "parameters": sum(parameter.numel() for parameter in network.parameters()),
                "errors": result["errors"],
                "accuracy": f"{result['accuracy']:.4f}",
                "nll": f"{result['nll']:.5f}",
                "corrupted": f"{corrupted_accuracy(network, held_out):.4f}",
                "commit": commit(),
            }
            append_row(log, row)
            yield row


def corrupted_accuracy(network: Network, held_out: Digits) -> float:
    """Mean accuracy over the corruptions of ``robustness.py``, on the held-out digits."""
    return sum(accuracy(network, corrupted(held_out, name)) for name in CORRUPTIONS) / len(CORRUPTIONS)
