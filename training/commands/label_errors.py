"""``label-errors``: finds digits of MNIST's training split whose labels are probably wrong."""

import argparse
import csv
import dataclasses

from training.commands.options import Subparsers, add_command, add_device
from training.recipes import LABEL_ERROR_SEARCH


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "label-errors",
        run,
        "Find digits of MNIST's training split whose labels are probably wrong",
        "It replaces training/data/label_errors.csv. Recipes leave out these digits.",
    )
    add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    """Search the digits that are not held out, and write the list."""
    from training.console import console
    from training.data import mnist
    from training.data.populations import LABEL_ERRORS
    from training.evaluation.label_errors import FOLDS, LabelError, find_label_errors
    from training.runs import Epoch
    from training.trainer import select_device

    device = select_device(arguments.device)
    digits = mnist.load(arguments.data_dir, "train")
    kept, _ = mnist.split_indices(digits, LABEL_ERROR_SEARCH.hold_out)

    def print_epoch(fold: int, epoch: Epoch) -> None:
        console.print(
            f"half {fold + 1}/{FOLDS}, epoch {epoch.epoch}/{LABEL_ERROR_SEARCH.epochs}  loss {epoch.loss:.4f}  "
            f"{epoch.seconds:.1f} s"
        )

    found = [
        dataclasses.replace(error, index=int(kept[error.index]))
        for error in find_label_errors(digits.take(kept), LABEL_ERROR_SEARCH, device, print_epoch)
    ]
    found.sort(key=lambda error: error.index)
    with LABEL_ERRORS.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in dataclasses.fields(LabelError))
        writer.writerows(dataclasses.astuple(error) for error in found)
    console.print(f"{len(found)} of {len(kept):,} digits have suspect labels. Wrote {LABEL_ERRORS}.")
    return 0
