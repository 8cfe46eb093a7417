"""``seeds``: stores in a model what its recipes give with other seeds."""

import argparse
from pathlib import Path

from training.commands.options import Subparsers, add_command


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "seeds",
        run,
        "Store in a model how well its recipes with other seeds read the held-out digits",
        "The model card then has the mean and the deviation. Nothing is measured: each run's manifest has its figures.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="model folder of one network")
    parser.add_argument("--into", type=Path, required=True, metavar="MODEL", help="model folder to store them in")


def run(arguments: argparse.Namespace) -> int:
    """Store and print the accuracies."""
    from app.inference.model_folder import MANIFEST
    from training.console import console
    from training.evaluation.model_card import format_mean
    from training.evaluation.seeds import store_seed_accuracies

    for recipe, populations in store_seed_accuracies(arguments.into, arguments.runs).items():
        for population, accuracies in populations.items():
            console.print(f"{recipe}, {population}: {format_mean(accuracies)}")
    console.print(f"Stored in {arguments.into / MANIFEST}.")
    return 0
