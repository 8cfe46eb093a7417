"""Ink is separated from the paper of a scan, without dust and without bits of neighbours."""

from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from numpy.typing import NDArray

from app.imaging.encode import to_png
from training.errors import DataError
from training.pages.scans import find_ink, load_scans


def make_scan() -> NDArray[np.uint8]:
    """Make a scan with a blue bar, a speck, and a stroke of a neighbour at the edge."""
    scan = np.full((95, 95, 3), 253, np.uint8)
    scan[20:70, 45:50] = (60, 90, 220)
    scan[10:12, 80:82] = (90, 90, 90)
    scan[40:60, :3] = (60, 90, 220)
    return scan


def test_only_the_digit_is_ink() -> None:
    """The bar is dark ink; the paper, the speck and the neighbour's stroke are none."""
    ink = find_ink(make_scan())
    assert ink[20:70, 45:50].min() > 0.9
    assert ink[:, :40].max() == 0
    assert ink[:, 60:].max() == 0


def test_empty_paper_has_no_ink() -> None:
    """A scan of nothing is an error."""
    with pytest.raises(DataError, match="no ink"):
        find_ink(np.full((90, 90, 3), 250, np.uint8))


def test_writers_are_kept_apart(tmp_path: Path) -> None:
    """Only the scans of the wanted writers are loaded, by writer and digit."""
    (tmp_path / "swiss").mkdir()
    with ZipFile(tmp_path / "swiss" / "scans.zip", "w") as archive:
        for name in ("0001_CH4M/3/number-1.png", "0001_CH4M/7/number-2.png", "0012_CH3M/3/number-3.png"):
            archive.writestr(name, to_png(make_scan()))
    scans = load_scans(tmp_path, ["0001"])
    assert {writer: set(pictures) for writer, pictures in scans.items()} == {"0001": {3, 7}}
    np.testing.assert_array_equal(scans["0001"][3][0], make_scan())


def test_a_missing_collection_is_named(tmp_path: Path) -> None:
    """The error says which file is missing."""
    with pytest.raises(DataError, match=r"swiss/scans\.zip is missing"):
        load_scans(tmp_path, ["0001"])
