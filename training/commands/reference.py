"""``reference``: adds the statistics of held-out digits to models that do not have them yet."""

import argparse
from pathlib import Path

from training.commands.options import Subparsers, add_command, add_models
from training.errors import EvaluationError


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "reference",
        run,
        "Add statistics of held-out digits to a model, for a running service to compare its input with",
        "Every export does this. The command is for models that were made before. The weights do not change, and the "
        "test split is not read.",
    )
    add_models(parser)


def run(arguments: argparse.Namespace) -> int:
    """Store the reference in each manifest."""
    from app.inference import model_folder
    from training.console import console
    from training.data import mnist
    from training.evaluation.reference import store_reference

    counts: dict[Path, int] = {}
    for folder in arguments.models:
        manifest = model_folder.load(folder).manifest
        count = manifest.training["data"]["held_out"]
        if not count:
            raise EvaluationError(f"{folder} was trained on the whole training split. No digits were held out.")
        if "own" in manifest.metrics:
            raise EvaluationError(
                f"{folder} was fine-tuned on digits that are not in MNIST. Its export has stored a reference already."
            )
        counts[folder] = count
    for folder, count in counts.items():
        _, held_out = mnist.hold_out(mnist.load(arguments.data_dir, "train"), count)
        reference = store_reference(folder, held_out)
        console.print(
            f"Stored the reference of {reference.digits:,} held-out digits in {folder / model_folder.MANIFEST}."
        )
    return 0
