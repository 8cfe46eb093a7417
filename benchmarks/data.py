"""The data that benchmarks read: digits that no released model was trained on."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.data import mnist
from training.data.mnist import Digits
from training.errors import DataError
from training.recipes import FAST

DATA_DIR = Path(os.environ.get("DIGITS_DATA_DIR", "data"))


@contextmanager
def required_data(folder: Path = DATA_DIR) -> Iterator[None]:
    """End the program without a traceback if the data that the block reads from a folder is missing."""
    if not folder.is_dir():
        sys.exit(f"The folder {folder} does not exist. Set DIGITS_DATA_DIR to the one that contains MNIST/raw.")
    try:
        yield
    except DataError as error:
        sys.exit(str(error))


def load_held_out() -> Digits:
    """Load the digits of MNIST's training split that are held out, or end the program."""
    with required_data():
        return mnist.hold_out(mnist.load(DATA_DIR, "train"), FAST.hold_out)[1]
