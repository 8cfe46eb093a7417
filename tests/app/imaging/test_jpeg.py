"""JPEG: scans are counted as a decoder meets them."""

import numpy as np
import pytest
from PIL import Image

from app.imaging.jpeg import count_scans
from tests.support.pictures import encode, with_scans

BLACK = np.zeros((28, 28), np.uint8)
NOISE = Image.effect_noise((640, 480), 80)


@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 1}, {"quality": 100}])
def test_a_baseline_picture_has_one_scan(options: dict[str, int]) -> None:
    """Restarts and stuffed zeros in a scan are no scans, and end none."""
    assert count_scans(encode(NOISE, "JPEG", **options), 99) == 1


def test_each_scan_counts_up_to_the_end_or_the_limit() -> None:
    """A repeated scan counts again. What follows the end does not, and a missing end does not matter."""
    once, often = with_scans(BLACK, 0), with_scans(BLACK, 7)
    assert count_scans(often, 99) == count_scans(once, 99) + 7
    assert count_scans(often, 10) == 10
    assert count_scans(once + often, 99) == count_scans(once, 99)
    assert count_scans(often[:-2], 99) == count_scans(often, 99)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"\xff\xd8\xff", b"\xff\xd8\xff\xda", b"\xff\xd8" + b"\xff\xe0\0\0" * 9]
)
def test_a_damaged_file_does_no_harm(data: bytes) -> None:
    """Cut short anywhere, or with segments of no length, a file has at most one scan."""
    assert count_scans(data, 99) <= 1
