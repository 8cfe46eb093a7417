"""Loads handwritten digits that no model was trained on: USPS and scikit-learn's digits."""

import gzip
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from app.imaging.normalize import normalize
from training.data.mnist import Digits
from training.errors import DataError


def load_usps(data_dir: Path) -> Digits:
    """Load USPS in the MNIST convention.

    Raises:
        DataError: The file is missing.
    """
    return normalize_pictures(*read_usps_pictures(data_dir))


def load_sklearn_digits() -> Digits:
    """Load scikit-learn's digits in the MNIST convention."""
    return normalize_pictures(*read_sklearn_pictures())


def read_usps_pictures(data_dir: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read ``data_dir/usps/zip.train.gz``: 7,291 digits from US Mail envelopes, 16x16 (Le Cun et al. 1990).

    Raises:
        DataError: The file is missing.
    """
    path = data_dir / "usps" / "zip.train.gz"
    if not path.is_file():
        raise DataError(
            f"{path} is missing. It is the file zip.train.gz from the data of The Elements of Statistical Learning."
        )
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file)
    grey = np.round((table[:, 1:] + 1) * 127.5).astype(np.uint8).reshape(-1, 16, 16)
    return grey, table[:, 0].astype(np.int64)


def read_sklearn_pictures() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read scikit-learn's 1,797 digits, 8x8 (Alpaydin and Kaynak 1998)."""
    bunch = load_digits()
    return (bunch.images * (255 / 16)).astype(np.uint8), bunch.target.astype(np.int64)


def normalize_pictures(grey: NDArray[np.uint8], labels: NDArray[np.int64]) -> Digits:
    """Bring pictures of any size to the MNIST convention with the service's own normalisation."""
    pixels = np.stack([normalize(picture).pixels for picture in grey])
    return Digits(torch.from_numpy(pixels), torch.from_numpy(labels))
