"""The digits that benchmarks read."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.commands.values import data_dir
from training.data import mnist
from training.data.mnist import Digits
from training.errors import DataError
from training.recipes import FAST

DATA_DIR = Path(os.environ.get("DIGITS_DATA_DIR", "data"))


@contextmanager
def required_data(folder: Path = DATA_DIR) -> Iterator[None]:
    """End the program without a traceback if the data that the block reads from a folder is missing."""
    try:
        data_dir(str(folder))
        yield
    except (DataError, argparse.ArgumentTypeError) as error:
        sys.exit(str(error))


def load_held_out() -> Digits:
    """Load the digits of MNIST's training split that no released model was trained on, or end the program."""
    with required_data():
        return mnist.hold_out(mnist.load(DATA_DIR, "train"), FAST.hold_out)[1]
