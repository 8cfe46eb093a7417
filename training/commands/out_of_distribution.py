"""``out-of-distribution``: measures how well models refuse what is not a digit."""

import argparse

from training.commands.options import Subparsers, add_command, add_models
from training.recipes import FAST


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands, "out-of-distribution", run, "Measure how well models refuse pictures that are not digits"
    )
    add_models(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print a table for each model, with one row per set of pictures, and the letters that it accepts most."""
    from rich.box import SIMPLE
    from rich.table import Table

    from app.inference import model_folder
    from training.console import console
    from training.data import mnist
    from training.data.out_of_distribution import ALPHABETS, OUT_OF_DISTRIBUTION, count_by_letter
    from training.evaluation.refusal import SCORES, measure_refusal

    models = [model_folder.load(folder) for folder in arguments.models]
    _, held_out = mnist.hold_out(mnist.load(arguments.data_dir, "train"), FAST.hold_out)
    pictures = {name: make() for name, make in OUT_OF_DISTRIBUTION.items()}
    for model in models:
        columns = [f"{score}: {figure}" for figure in ("AUROC", "accepted") for score in SCORES]
        title = (
            f"{model.folder.name}; the last columns use the threshold that 99.5 % of digits reach by that score alone"
        )
        table = Table("not digits", "accepted as shipped", *columns, box=SIMPLE, title=title, title_justify="left")
        results = measure_refusal(model, held_out, pictures)
        for name, row in results.items():
            table.add_row(
                name,
                f"{row['accepted']:.2%}",
                *(f"{row['auroc'][score]:.4f}" for score in SCORES),
                *(f"{row['false_accepts'][score]:.2%}" for score in SCORES),
            )
        console.print(table)
        for name, alphabet in ALPHABETS.items():
            most = count_by_letter(results[name]["accepted_as"], alphabet)[:4]
            console.print(
                f"most accepted {name}:", ", ".join(f"{each} as {digit} {share:.0%}" for each, digit, share in most)
            )
    return 0
