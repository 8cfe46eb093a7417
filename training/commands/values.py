"""The types of command-line values. A value that cannot work is refused before a command starts."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

DEFAULT_DATA_DIR = Path("data")
MAX_SEED = 2**32 - 1


def whole_number(lowest: int, highest: int = 1_000_000) -> Callable[[str], int]:
    """Return a type that accepts the whole numbers from ``lowest`` to ``highest``."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest:,} to {highest:,}")
        return number

    return parse


def seed(text: str) -> int:
    """Parse a random seed."""
    return whole_number(0, MAX_SEED)(text)


def device(text: str) -> str:
    """Check the form of a device's name. Whether this machine has the device is known later."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, cpu, cuda or cuda:N")
    return text


def data_dir(text: str) -> Path:
    """Parse the folder of MNIST. It must exist, so that a mistyped name does not become a folder with a download."""
    folder = Path(text)
    if folder != DEFAULT_DATA_DIR and not folder.is_dir():
        raise argparse.ArgumentTypeError(
            f"the folder {folder} does not exist (from --data-dir or DIGITS_DATA_DIR). "
            "To download MNIST to it, create it first."
        )
    return folder
