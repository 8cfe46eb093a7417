"""Loads scans of the digits of twelve Swiss writers, and separates their ink from the paper."""

import io
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data.swiss import read_scans
from training.errors import DataError
from training.pages.sheet import Coverage

Picture = NDArray[np.uint8]  # (H, W, 3)
Scans = Mapping[str, Mapping[int, Sequence[Picture]]]  # writer -> digit -> pictures

SPECK = 12  # pixels; a smaller spot is dust


def load_scans(data_dir: Path, writers: Collection[str]) -> Scans:
    """Load the scans of some writers. Raises what ``read_scans`` raises."""
    scans: dict[str, dict[int, list[Picture]]] = defaultdict(lambda: defaultdict(list))
    for writer, digit, file in read_scans(data_dir, writers):
        scans[writer][digit].append(decode(file))
    return scans


def decode(data: bytes) -> Picture:
    """Decode a scan. What is transparent is white paper."""
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


def find_ink(scan: Picture) -> Coverage:
    """Separate the ink of a digit from the paper, without dust and bits of neighbours.

    Raises:
        DataError: There is no ink.
    """
    darkest = scan.min(axis=2).astype(np.float32)
    paper, black = np.percentile(darkest, 90), np.percentile(darkest, 1)
    ink: Coverage = ((paper - darkest) / max(paper - black, 1) * 1.15 - 0.15).clip(0, 1)
    spots, labels, stats, _ = cv2.connectedComponentsWithStats((ink > 0.15).astype(np.uint8), connectivity=8)
    height, width = ink.shape
    left, top, wide, high, area = stats[1:].T
    if spots == 1:
        raise DataError("A scan has no ink.")
    is_inside = (left > 0) & (top > 0) & (left + wide < width) & (top + high < height)
    kept = np.flatnonzero((is_inside & (area >= SPECK)) | (area == area.max())) + 1
    is_digit = cv2.dilate(np.isin(labels, kept).astype(np.uint8), np.ones((3, 3), np.uint8))
    digit: Coverage = (ink * is_digit).astype(np.float32)
    return digit
