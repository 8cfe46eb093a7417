"""Loads the digits of twelve Swiss writers: scans of ballpoint and pencil, from the collection kensanata/numbers (CC0).

Writers are kept apart: models train on nine of them, and three choose and calibrate.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch

from app.recognition.digit import prepare_file
from training.data.mnist import Digits
from training.errors import DataError

TRAINING_WRITERS = tuple(f"{number:04}" for number in range(1, 10))
HELD_OUT_WRITERS = ("0010", "0011", "0012")
SCANS = Path("swiss") / "scans.zip"  # in the data folder
MAX_PIXELS = 1_000_000  # of one scan; they have about 95x95


def read_scans(data_dir: Path, writers: Collection[str]) -> Iterator[tuple[str, int, bytes]]:
    """Yield the writer, the digit and the PNG file of each scan of some writers in ``data_dir/swiss/scans.zip``.

    Args:
        writers: Their numbers, of four digits.

    Raises:
        DataError: The file is missing.
    """
    path = data_dir / SCANS
    if not path.is_file():
        raise DataError(
            f"{path} is missing. It is the collection kensanata/numbers (CC0), as WRITER/DIGIT/*.png. "
            "`train --mnist-only` does without it."
        )
    with ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            writer = name[:4]
            if name.endswith(".png") and writer in writers:
                yield writer, int(name.split("/")[1]), archive.read(name)


def load(data_dir: Path, writers: Collection[str]) -> Digits:
    """Load the digits of some writers as the service prepares them for a network. This takes 2 ms a digit.

    Scans in which the service sees no ink, or several digits, are left out: no network's answer to them counts.

    Raises:
        DataError: The file is missing, or has no digits of these writers.
    """
    pixels, labels = [], []
    for _, digit, file in read_scans(data_dir, writers):
        picture = prepare_file(file, MAX_PIXELS)
        if not picture.blank and not picture.several:
            pixels.append(picture.pixels)
            labels.append(digit)
    if not pixels:
        raise DataError(f"{data_dir / SCANS} has no digits of the writers {', '.join(writers)}.")
    return Digits(torch.from_numpy(np.stack(pixels)), torch.tensor(labels))
