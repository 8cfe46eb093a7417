"""``model-card``: writes a model's card and its plots."""

import argparse
from pathlib import Path

from training.commands.options import Subparsers, add_command
from training.errors import ExportError


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "model-card",
        run,
        "Write MODEL_CARD.md and its plots from a model's manifest",
        "Nothing is measured. MNIST is read only to show the misread digits.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="model folder")


def run(arguments: argparse.Namespace) -> int:
    """Write the card."""
    write_card_and_print(arguments.model, arguments.data_dir)
    return 0


def write_card_and_print(folder: Path, data_dir: Path) -> None:
    """Write a model's card and plots into its folder.

    Raises:
        ExportError: The manifest is from an earlier version, and lacks something that the card needs.
    """
    from app.inference import model_folder
    from training.console import console
    from training.data import mnist
    from training.evaluation.model_card import write_card

    model = model_folder.load(folder)
    digits = None
    if "test" in model.manifest.metrics:
        digits = mnist.load(data_dir, "test")
    elif count := model.manifest.training.get("data", {}).get("held_out", {}).get("mnist"):
        _, digits = mnist.hold_out(mnist.load(data_dir, "train"), count)
    try:
        card = write_card(model, digits)
    except KeyError as error:
        raise ExportError(f"{folder}: the manifest is from an earlier version, and has no {error}.") from None
    console.print(f"Wrote {card}.")
