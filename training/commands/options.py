"""Command-line options that several training commands share."""

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from training.commands import values
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
        type=values.data_dir,
        default=os.environ.get("DIGITS_DATA_DIR", str(values.DEFAULT_DATA_DIR)),
        help="folder that contains MNIST/raw; missing files are downloaded to it [DIGITS_DATA_DIR, default: data]",
    )
    parser.add_argument(
        "--threads", type=values.whole_number(1, 1_024), help="threads for torch [default: one per core]"
    )
    parser.set_defaults(handler=handler)
    return parser


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add one or more model folders as arguments."""
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL", help="model folder")


def add_device(parser: argparse.ArgumentParser, condition: str = "") -> None:
    """Add the option ``--device``. A ``condition`` goes before its help."""
    parser.add_argument(
        "--device", type=values.device, default="auto", help=f"{condition}auto, cpu, cuda or cuda:N [default: auto]"
    )


def add_seed(parser: argparse.ArgumentParser, help: str = "random seed") -> None:
    """Add the option ``--seed``."""
    parser.add_argument("--seed", type=values.seed, default=0, help=f"{help} [default: 0]")


def select_recipe(arguments: argparse.Namespace) -> Recipe:
    """Return the recipe that ``--recipe`` names, with the number of epochs from ``--epochs`` if it is set."""
    recipe = RECIPES[arguments.recipe]
    return replace(recipe, epochs=arguments.epochs) if arguments.epochs else recipe
