"""``compression``: measures ways to make a network smaller or faster."""

import argparse
from pathlib import Path

from training.commands.options import Subparsers, add_command


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "compression",
        run,
        "Measure ways to make a network smaller or faster: folding batch-norm, int8, pruning",
    )
    parser.add_argument(
        "source", type=Path, metavar="RUN", help="model folder of one network, or the folder RUN.training of a run"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a table with one row per version of the network."""
    from rich.box import SIMPLE
    from rich.table import Table

    from training.console import console
    from training.data.populations import load_with_held_out
    from training.evaluation.compression import measure_compression
    from training.export.saved_runs import load_run

    source = load_run(arguments.source)
    training, held_out = load_with_held_out(source.recipe, arguments.data_dir)
    table = Table("version", "misread", "KB", "µs for one", "µs each of 64", box=SIMPLE)
    for version in measure_compression(source.network.eval(), training, held_out.digits):
        table.add_row(
            version.name,
            str(version.errors),
            f"{version.bytes / 1e3:.0f}",
            f"{version.single_us:.0f}",
            f"{version.batched_us:.0f}",
        )
    console.print(f"{source.recipe.name}, seed {source.seed}, on {len(held_out):,} held-out digits, one thread")
    console.print(table)
    return 0
