"""Command-line options that several training commands share."""

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from training.recipes import RECIPES, Recipe

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    commands: Subparsers,
    name: str,
    handler: Callable[[argparse.Namespace], int],
    help: str,
    description: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command with the options that every command has.

    Args:
        handler: Called with the parsed arguments. It returns the exit status.
        description: Shown by the command's own --help, in addition to ``help``.
    """
    parser = commands.add_parser(name, help=help, description=f"{help}. {description or ''}".strip())
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(os.environ.get("DIGITS_DATA_DIR", "data")),
        help="folder that contains MNIST/raw; missing files are downloaded to it [DIGITS_DATA_DIR, default: data]",
    )
    parser.add_argument("--threads", type=int, help="threads for torch [default: one per core]")
    parser.set_defaults(handler=handler)
    return parser


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add one or more model folders as arguments."""
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="model folder")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the required option ``--output``."""
    parser.add_argument(
        "--output", type=Path, required=True, help="model folder to write; NAME-1.2.3 sets the version to 1.2.3"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--device``."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N [default: auto]")


def select_recipe(arguments: argparse.Namespace) -> Recipe:
    """Return the recipe that ``--recipe`` names, with the number of epochs from ``--epochs`` if it is set."""
    recipe = RECIPES[arguments.recipe]
    return replace(recipe, epochs=arguments.epochs) if arguments.epochs else recipe


def parse_version(output: Path) -> str:
    """Return 1.2.3 for a folder named NAME-1.2.3, and 0.0.0 for other names."""
    match = re.search(r"-(\d+\.\d+\.\d+)$", output.name)
    return match[1] if match else "0.0.0"
