"""``evaluate``: measures finished models on the test split, or a recipe by cross-validation."""

import argparse
import json
from pathlib import Path
from typing import Any

from training.commands.options import Subparsers, add_command, select_recipe
from training.errors import EvaluationError
from training.recipes import RECIPES

TEST_LOG = Path("docs/test-log.csv")


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "evaluate",
        run,
        "Measure finished models on the test split, or a recipe by cross-validation",
        f"Each reading of the test split is logged in {TEST_LOG}. The test split is for final figures and must not "
        "influence any choice.",
    )
    parser.add_argument("models", type=Path, nargs="*", metavar="MODEL", help="model folders")
    parser.add_argument(
        "--into",
        type=Path,
        metavar="MODEL",
        help="store the accuracies in the manifest of this model, as its recipes with other seeds",
    )
    parser.add_argument(
        "--log", type=Path, default=TEST_LOG, help=f"log of the readings of the test split [default: {TEST_LOG}]"
    )
    parser.add_argument(
        "--kfold", type=int, metavar="K", help="instead, train --recipe K times on folds of the training split"
    )
    parser.add_argument("--recipe", choices=RECIPES, default="fast", help="with --kfold [default: fast]")
    parser.add_argument("--epochs", type=int, help="with --kfold: number of epochs [default: the recipe's]")
    parser.add_argument("--seed", type=int, default=0, help="with --kfold [default: 0]")
    parser.add_argument("--device", default="auto", help="with --kfold: auto, cpu, cuda or cuda:N [default: auto]")


def run(arguments: argparse.Namespace) -> int:
    """Measure the models, or cross-validate the recipe."""
    if arguments.kfold:
        return cross_validate_and_print(arguments)
    if not arguments.models:
        raise EvaluationError("Name a model folder, or use --kfold K with a --recipe.")

    from app.inference.model_folder import MANIFEST
    from training.console import console
    from training.evaluation.model_card import format_mean
    from training.evaluation.test_log import store_seed_accuracies

    for model in arguments.models:
        evaluate_and_print(model, arguments.data_dir, arguments.log)
    if arguments.into:
        for recipe, accuracies in store_seed_accuracies(arguments.into, arguments.models).items():
            console.print(f"{recipe}: {format_mean(accuracies)}. Stored in {arguments.into / MANIFEST}.")
    return 0


def evaluate_and_print(folder: Path, data_dir: Path, log: Path) -> None:
    """Measure a model on the test split, and print the metrics."""
    from app.inference.model_folder import MANIFEST
    from training.console import console, print_classes, print_metrics
    from training.data import mnist
    from training.evaluation.test_log import evaluate_on_test

    metrics = evaluate_on_test(folder, mnist.load(data_dir, "test"), log)
    print_metrics(f"digits of the test split: {folder}", metrics)
    print_classes(metrics["onnxruntime"])
    console.print(f"Logged in {log}, stored in {folder / MANIFEST}.")


def cross_validate_and_print(arguments: argparse.Namespace) -> int:
    """Cross-validate a recipe, print the accuracies, and write them to ``runs/kfold-RECIPE-SEED.json``."""
    from training.console import console
    from training.data import mnist
    from training.evaluation.cross_validation import cross_validate
    from training.trainer import select_device

    recipe = select_recipe(arguments)
    digits = mnist.load(arguments.data_dir, "train")

    def print_fold(fold: int, result: dict[str, Any]) -> None:
        console.print(f"fold {fold}/{arguments.kfold}  accuracy {result['accuracy']:.2%}  ({result['errors']} misread)")

    device = select_device(arguments.device)
    result = cross_validate(recipe, digits, arguments.kfold, arguments.seed, device, print_fold)
    output = Path("runs") / f"kfold-{recipe.name}-{arguments.seed}.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    console.print(
        f"{recipe.name}: {result['accuracy_mean']:.3%} ± {result['accuracy_std']:.3%} over {arguments.kfold} folds. "
        f"Wrote {output}."
    )
    return 0
