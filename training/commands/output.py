"""The model folder that a command writes: its option, and the checks before any work starts."""

import argparse
import os
import re
from pathlib import Path

from training.errors import ExportError


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the required option ``--output``, and ``--force``."""
    parser.add_argument(
        "--output", type=Path, required=True, help="model folder to write; NAME-1.2.3 sets the version to 1.2.3"
    )
    add_force(parser)


def add_force(parser: argparse.ArgumentParser, what: str = "model folder of that name") -> None:
    """Add the option ``--force``."""
    parser.add_argument("--force", action="store_true", help=f"replace an existing {what}")


def check_output(output: Path, force: bool) -> None:
    """Check that a model folder can be written. Commands call this before they read, train or download anything.

    Raises:
        ExportError: The folder exists and ``force`` is not set, or it is not one that may be replaced or made.
    """
    from app.inference.model_folder import MANIFEST  # here, because it imports numpy

    if output.name in ("", ".."):
        raise ExportError(f"--output {output}: give the model folder a name.")
    if output.is_symlink():
        raise ExportError(f"{output} is a symbolic link. Name the folder itself with --output.")
    if output.exists() and not is_empty(output):
        if not (output / MANIFEST).is_file():
            raise ExportError(f"{output} exists and is not a model folder. Choose another --output.")
        if not force:
            raise ExportError(f"{output} exists. Choose another --output, or replace that model with --force.")
    nearest = next(parent for parent in output.absolute().parents if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise ExportError(f"--output {output}: {nearest} is not a folder that you may write to.")


def is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def parse_version(output: Path) -> str:
    """Return 1.2.3 for a folder named NAME-1.2.3, and 0.0.0 for other names."""
    match = re.search(r"-(\d+\.\d+\.\d+)$", output.name)
    return match[1] if match else "0.0.0"
