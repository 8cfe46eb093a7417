"""The ablation study: trains and measures the fast recipe with one ingredient changed at a time.

Each row has one variant and one seed, measured on the held-out digits of MNIST and on those of the Swiss writers. Rows
are appended to ``docs/ablation.csv`` as they are measured. A row in the file is not measured again, so an interrupted
study can be continued. The variants are in ``training/recipes.py``.
"""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from app.inference.networks import Network
from training.data.corruptions import CORRUPTIONS, corrupt
from training.data.mnist import Digits
from training.data.populations import HeldOut
from training.evaluation.csv_log import append_row
from training.evaluation.metrics import ACCEPT_ALL, measure
from training.export.calibration import fit_network_temperature
from training.export.saved_runs import load_teacher
from training.provenance import describe_commit
from training.recipes import Recipe
from training.runs import Epoch
from training.trainer import fit, measure_accuracy, predict


def run_ablation(
    load_training: Callable[[Recipe], Digits],
    held_out: HeldOut,
    variants: dict[str, Recipe],
    seeds: int,
    log: Path,
    device: torch.device,
    models: Path,
    on_epoch: Callable[[str, int, Epoch], None],
) -> Iterator[dict[str, Any]]:
    """Train and measure what is not in the log yet: every variant with one seed, then with the next seed.

    The negative log-likelihood is measured after the temperature is fitted on the same held-out digits. This favours
    every row alike.

    Args:
        load_training: Loads the digits that a recipe trains on.
        models: The folder with the models that recipes name as teachers.
    """
    for seed in range(seeds):
        for name, recipe in variants.items():
            if (name, seed) in read_measured(log):
                continue

            def report_epoch(epoch: Epoch, name: str = name, seed: int = seed) -> None:
                on_epoch(name, seed, epoch)

            training = load_training(recipe)
            run = fit(
                recipe,
                training,
                held_out.digits,
                seed=seed,
                device=device,
                teacher=load_teacher([models / name for name in recipe.teachers]),
                on_epoch=report_epoch,
            )
            network = run.network
            fit_network_temperature(network, held_out)
            row: dict[str, Any] = {
                "variant": name,
                "seed": seed,
                "epochs": recipe.epochs,
                "minutes": round(run.seconds / 60, 1),
                "parameters": sum(parameter.numel() for parameter in network.parameters()),
            }
            for population, digits in held_out.by_population.items():
                probabilities, typicality = predict(network, digits.images)
                result = measure(probabilities.numpy(), digits.labels.numpy(), typicality.numpy(), ACCEPT_ALL)
                row |= {
                    f"{population}_errors": result["errors"],
                    f"{population}_nll": f"{result['nll']:.5f}",
                    f"{population}_aurc": f"{result['aurc']:.2e}",
                }
            row["corrupted"] = f"{measure_corrupted_accuracy(network, held_out.by_population['mnist']):.4f}"
            row["commit"] = describe_commit()
            append_row(log, row)
            yield row


def read_measured(log: Path) -> set[tuple[str, int]]:
    """Return the variants and seeds that the log has."""
    if not log.exists():
        return set()
    with log.open(newline="") as file:
        return {(row["variant"], int(row["seed"])) for row in csv.DictReader(file)}


def measure_corrupted_accuracy(network: Network, held_out: Digits) -> float:
    """Return the mean accuracy over all corruptions of the held-out digits."""
    return sum(measure_accuracy(network, corrupt(held_out, name)) for name in CORRUPTIONS) / len(CORRUPTIONS)
