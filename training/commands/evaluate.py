"""``evaluate``: measures models on the test split or on held-out digits, or a recipe by cross-validation."""

import argparse
import json
from pathlib import Path
from typing import Any

from training.commands.options import Subparsers, add_command, add_device, add_seed, select_recipe
from training.commands.output import add_force
from training.commands.values import whole_number
from training.errors import EvaluationError
from training.recipes import RECIPES

TEST_LOG = "test-log.csv"
MAX_FOLDS = 1_000  # the rarest digit of the training split has 5,421 pictures


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "evaluate",
        run,
        "Measure models on the test split or on held-out digits, or a recipe by cross-validation",
        "Each reading of the test split is logged. Choose with held-out digits, commit the choice, then read the test "
        "split once.",
    )
    parser.add_argument("models", type=Path, nargs="*", metavar="MODEL", help="model folders")
    parser.add_argument(
        "--log", type=Path, help=f"log of the readings of the test split [default: {TEST_LOG} beside the model]"
    )
    parser.add_argument(
        "--held-out",
        action="store_true",
        help="instead, measure the models on the digits that their recipes hold out, and store the figures",
    )
    parser.add_argument(
        "--kfold",
        type=whole_number(2, MAX_FOLDS),
        metavar="K",
        help="instead, train --recipe K times on folds of the training split",
    )
    parser.add_argument("--recipe", choices=RECIPES, default="fast", help="with --kfold [default: fast]")
    parser.add_argument("--epochs", type=whole_number(1), help="with --kfold: number of epochs [default: the recipe's]")
    add_seed(parser, "with --kfold: random seed")
    add_device(parser, "with --kfold: ")
    add_force(parser, "result of --kfold")


def run(arguments: argparse.Namespace) -> int:
    """Measure the models, or cross-validate the recipe."""
    if arguments.kfold:
        return cross_validate_and_print(arguments)
    if not arguments.models:
        raise EvaluationError("Name a model folder, or use --kfold K with a --recipe.")

    if arguments.held_out:
        for folder in arguments.models:
            measure_held_out_and_print(folder, arguments.data_dir)
        return 0

    from app.inference import model_folder
    from training.evaluation.test_log import check_finished

    for folder in arguments.models:  # a mistyped name fails before anything is read and logged
        check_finished(model_folder.load(folder))
    for folder in arguments.models:
        evaluate_and_print(folder, arguments.data_dir, arguments.log)
    return 0


def evaluate_and_print(folder: Path, data_dir: Path, log: Path | None = None) -> None:
    """Measure a model on the test split, and print the metrics. Without a ``log``, it is beside the model's folder."""
    from app.inference import model_folder
    from training.console import console, print_classes, print_metrics
    from training.data import mnist
    from training.evaluation.test_log import evaluate_on_test

    log = log or folder.parent / TEST_LOG
    metrics = evaluate_on_test(model_folder.load(folder), mnist.load(data_dir, "test"), log)
    print_metrics(f"digits of the test split: {folder}", metrics)
    print_classes(metrics["onnxruntime"])
    console.print(f"Logged in {log}, stored in {folder / model_folder.MANIFEST}.")


def measure_held_out_and_print(folder: Path, data_dir: Path) -> None:
    """Measure a model on the digits that its recipe holds out, and print the metrics."""
    from app.inference import model_folder
    from training.console import console, print_held_out
    from training.data.populations import require_held_out
    from training.evaluation.held_out import store_held_out_figures
    from training.recipes import from_dict

    recipe = from_dict(model_folder.load(folder).manifest.training["runs"][0]["recipe"])
    manifest = store_held_out_figures(folder, require_held_out(recipe, data_dir))
    print_held_out(manifest.metrics["held_out"])
    console.print(f"Stored in {folder / model_folder.MANIFEST}.")


def cross_validate_and_print(arguments: argparse.Namespace) -> int:
    """Cross-validate a recipe, print the accuracies, and write them to ``runs/kfold-RECIPE-SEED.json``."""
    from training.console import console
    from training.data import mnist
    from training.evaluation.cross_validation import cross_validate
    from training.trainer import select_device

    recipe = select_recipe(arguments)
    output = Path("runs") / f"kfold-{recipe.name}-{arguments.seed}.json"
    if output.exists() and not arguments.force:
        raise EvaluationError(f"{output} exists. Move it away, or replace it with --force.")
    device = select_device(arguments.device)
    digits = mnist.load(arguments.data_dir, "train")

    def print_fold(fold: int, result: dict[str, Any]) -> None:
        console.print(f"fold {fold}/{arguments.kfold}  accuracy {result['accuracy']:.2%}  ({result['errors']} misread)")

    result = cross_validate(recipe, digits, arguments.kfold, arguments.seed, device, print_fold)
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    console.print(
        f"{recipe.name}: {result['accuracy_mean']:.3%} ± {result['accuracy_std']:.3%} over {arguments.kfold} folds. "
        f"Wrote {output}."
    )
    return 0
