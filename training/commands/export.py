"""``export``: writes a model folder from an interrupted run or from another model folder."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import python_command
from training.commands.options import Subparsers, add_command
from training.commands.output import add_output, check_output, parse_version

if TYPE_CHECKING:
    from training.data.mnist import Digits
    from training.data.populations import HeldOut
    from training.runs import Run


def add_parser(commands: Subparsers) -> None:
    """Add the command."""
    parser = add_command(
        commands, "export", run, "Write a model folder from an interrupted run, or from another model folder"
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder RUN.training, or model folder")
    add_output(parser)
    parser.add_argument("--precision", choices=["fp32", "int8"], help="of the ONNX graph [default: the recipe's]")


def run(arguments: argparse.Namespace) -> int:
    """Export a run again."""
    check_output(arguments.output, arguments.force)

    from training.data.populations import load_for_recipe
    from training.export.saved_runs import load_run

    source = load_run(arguments.source)
    if arguments.precision:
        source.recipe = replace(source.recipe, precision=arguments.precision)
    training, held_out = load_for_recipe(source.recipe, arguments.data_dir)
    export_and_print(source, training, held_out, arguments.output, arguments.force)
    return 0


def export_and_print(trained: Run, training: Digits, held_out: HeldOut | None, output: Path, force: bool) -> None:
    """Write a model folder from a run, and print its metrics on held-out digits."""
    from training.console import console, print_held_out
    from training.export.model_writer import export_run

    console.print("Exporting: graph, quantisation, calibration, golden digits…")
    model = export_run(trained, training, held_out, output, parse_version(output), force)
    console.print(f"Wrote {output}. Serve it: DIGITS_MODEL={output} {python_command()} -m app serve")
    if held_out:
        print_held_out(model.manifest.metrics["held_out"])
