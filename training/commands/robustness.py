"""``robustness``: measures models on digits from other datasets and on corrupted digits."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from training.commands.options import Subparsers, add_command, add_models
from training.recipes import FAST


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "robustness",
        run,
        "Measure models on digits from other datasets, and on corrupted held-out digits",
        "USPS is read from DATA_DIR/usps/zip.train.gz and the Swiss digits from DATA_DIR/swiss/scans.zip. What is "
        "missing is left out.",
    )
    add_models(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print a table with one row per set of digits and one column per model."""
    import numpy as np
    import torch
    from rich.box import SIMPLE
    from rich.table import Table

    from app.inference import model_folder
    from app.inference.engine_selection import open_engine
    from training.console import console
    from training.data import mnist, swiss
    from training.data.corruptions import CORRUPTIONS, corrupt
    from training.data.other_datasets import load_sklearn_digits, load_usps
    from training.errors import DataError
    from training.evaluation.metrics import score_all

    engines = [
        open_engine(model_folder.load(folder), "onnxruntime", "cpu", torch.get_num_threads())
        for folder in arguments.models
    ]
    _, held_out = mnist.hold_out(mnist.load(arguments.data_dir, "train"), FAST.hold_out)
    sets = {"held out, unchanged": held_out, "scikit-learn": load_sklearn_digits()}
    optional: dict[str, Callable[[Path], mnist.Digits]] = {
        "USPS": load_usps,
        "Swiss writers, held out": partial(swiss.load, writers=swiss.HELD_OUT_WRITERS),
    }
    for name, load in optional.items():
        try:
            sets[name] = load(arguments.data_dir)
        except DataError as error:
            console.print(f"Left out: {error}")
    sets |= {name: corrupt(held_out, name) for name in CORRUPTIONS}
    table = Table("digits", *(folder.name for folder in arguments.models), box=SIMPLE)
    means = np.zeros(len(engines))
    for name, digits in sets.items():
        labels = digits.labels.numpy()
        read = [score_all(engine, digits.images.numpy()).probabilities.argmax(axis=1) for engine in engines]
        accuracies = [float((classes == labels).mean()) for classes in read]
        table.add_row(name, *(f"{accuracy:.2%}" for accuracy in accuracies))
        if name in CORRUPTIONS:
            means += np.array(accuracies) / len(CORRUPTIONS)
    table.add_row("mean of the corruptions", *(f"{mean:.2%}" for mean in means))
    console.print(table)
    return 0
