"""A small collection of scans in the form of the Swiss one: ``swiss/scans.zip``, with WRITER/DIGIT/*.png in it."""

from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import cv2
import numpy as np

from tests.support.pictures import Grey, png

SIDE = 95  # pixels

# Two digits of a writer to train on, and two of one who is held out.
SCANS = {
    "0001_CH4M/3/number-1.png": "3",
    "0001_CH4M/7/number-2.png": "7",
    "0010_CH3F/2/number-1.png": "2",
    "0010_CH3F/5/number-2.png": "5",
}


def draw_scan(text: str) -> Grey:
    """Write one or two digits with a dark pen on white paper. Without any, the paper is blank."""
    scan = np.full((SIDE, SIDE), 250, np.uint8)
    for index, digit in enumerate(text):
        left = 30 if len(text) == 1 else 8 + 48 * index
        cv2.putText(scan, digit, (left, 68), cv2.FONT_HERSHEY_SIMPLEX, 1.8, 40, 4, cv2.LINE_AA)
    return scan


def write_scans(data_dir: Path, texts: Mapping[str, str] = SCANS) -> None:
    """Write ``data_dir/swiss/scans.zip``.

    Args:
        texts: What each file shows, by its name. A file that is not a PNG gets the text itself.
    """
    (data_dir / "swiss").mkdir(parents=True)
    with ZipFile(data_dir / "swiss" / "scans.zip", "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, png(draw_scan(text)) if name.endswith(".png") else text)
