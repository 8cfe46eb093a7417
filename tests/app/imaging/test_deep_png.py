"""Colour PNG files of 16 bits per channel are scaled by the bits that they use."""

import zlib

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.imaging.decode import decode
from app.imaging.digit_image import Grey
from app.imaging.formats import PNG_SIGNATURE
from tests.support.pictures import chunk

LIMIT = 1_000_000
CHANNELS = {"colour": 3, "colour with opacity": 4}


def encode_deep(levels: NDArray[np.uint16], white: int, channels: int, opaque: int = 65535) -> bytes:
    """Write grey levels as a colour PNG of 16 bits, whose white is ``white``."""
    deep = np.stack([levels] * channels, axis=-1)
    if channels == 4:
        deep[..., 3] = opaque
    data = cv2.imencode(".png", deep)[1].tobytes()
    assert data[24:26] == bytes([16, 2 if channels == 3 else 6])
    return data


@pytest.mark.parametrize("channels", CHANNELS.values(), ids=CHANNELS)
@pytest.mark.parametrize("white", [255, 1023, 4095, 65535])
def test_a_picture_has_the_same_grey_levels_whatever_bits_it_uses(seven: Grey, white: int, channels: int) -> None:
    """It differs by at most one level from the picture of 8 bits."""
    levels = np.round(seven / 255 * white).astype(np.uint16)
    pixels = decode(encode_deep(levels, white, channels), LIMIT).pixels
    assert np.abs(pixels.astype(int) - seven).max() <= 1


@pytest.mark.parametrize("opaque", [255, 65535])
def test_opacity_may_use_other_bits_than_the_colours(seven: Grey, opaque: int) -> None:
    """A picture is opaque whether its full opacity is 255 or 65535."""
    pixels = decode(encode_deep(seven.astype(np.uint16), 255, 4, opaque), LIMIT).pixels
    np.testing.assert_array_equal(pixels, seven)


def test_a_dark_picture_of_sixteen_bits_stays_dark() -> None:
    """With 13 bits or more, a picture uses all 16."""
    pixels = decode(encode_deep(np.full((28, 28), 8191, np.uint16), 8191, 3), LIMIT).pixels
    assert np.unique(pixels).tolist() == [31]


def test_black_stays_black() -> None:
    """A picture without any level but 0 is not divided by zero."""
    assert not decode(encode_deep(np.zeros((5, 5), np.uint16), 255, 3), LIMIT).pixels.any()


def test_grey_with_opacity_is_scaled_too(seven: Grey) -> None:
    """OpenCV does not write such files, so this one is put together from its chunks."""
    rows = b"".join(b"\0" + np.stack([row, np.full(28, 255)], axis=-1).astype(">u2").tobytes() for row in seven)
    header = (28).to_bytes(4) * 2 + bytes([16, 4, 0, 0, 0])
    file = PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode(file, LIMIT).pixels, seven)
