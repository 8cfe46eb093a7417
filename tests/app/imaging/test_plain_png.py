"""The fast decoder of plain PNGs: it gives the same pixels as the general decoder, or leaves the file to it."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.imaging.decode import PNG_END, decode, decode_plain_png
from tests.support.pictures import Grey, chunk, encode, png

LIMIT = 10_000


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
@settings(deadline=None)
def test_any_grey_picture_is_decoded_exactly(pixels: Grey) -> None:
    """Pixels and size of a picture of any shape are those that were encoded."""
    picture = decode_plain_png(png(pixels), LIMIT)
    assert picture is not None
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert (picture.format, picture.width, picture.height) == ("PNG", *pixels.shape[::-1])


def test_real_digits_are_plain(digits: list[tuple[int, Grey]]) -> None:
    """A digit that Pillow saves with its defaults goes through the fast decoder."""
    for _, image in digits:
        assert decode_plain_png(png(image), LIMIT) is not None


def png_with_text(image: Image.Image) -> bytes:
    file, note = io.BytesIO(), PngInfo()
    note.add_text("note", "hello")
    image.save(file, "PNG", pnginfo=note)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_other_kinds_of_png_are_left_to_the_general_decoder(mode: str, seven: Grey) -> None:
    """Colour, transparency, palettes and other depths are not plain."""
    assert decode_plain_png(encode(Image.fromarray(seven).convert(mode)), LIMIT) is None


def test_anything_unusual_is_left_to_the_general_decoder(seven: Grey) -> None:
    """Other chunks, bytes after the end, other formats, too many pixels and an empty file."""
    assert decode_plain_png(png_with_text(Image.fromarray(seven)), LIMIT) is None
    assert decode_plain_png(png(seven) + b"x", LIMIT) is None
    assert decode_plain_png(encode(Image.fromarray(seven), "JPEG"), LIMIT) is None
    assert decode_plain_png(png(seven), 783) is None
    assert decode_plain_png(b"", LIMIT) is None


def test_no_damage_gets_through(seven: Grey, capfd: pytest.CaptureFixture[str]) -> None:
    """A file with any byte changed, or cut anywhere, is not decoded, and no decoder prints anything."""
    file = png(seven)
    for place in range(len(file)):
        damaged = bytearray(file)
        damaged[place] ^= 0x55
        assert decode_plain_png(bytes(damaged), LIMIT) is None
        assert decode_plain_png(file[:place], LIMIT) is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("rows", [b"", b"\x05" + bytes(28), bytes(29 * 28 - 1), bytes(29 * 28 + 1), bytes(10**7)])
def test_wrong_contents_with_right_checksums_are_never_decoded_differently(
    rows: bytes, seven: Grey, capfd: pytest.CaptureFixture[str]
) -> None:
    """Too few rows, too many, a bomb or an unknown filter: the result is the general decoder's, or None."""
    data = png(seven)[:33] + chunk(b"IDAT", zlib.compress(rows)) + PNG_END
    if picture := decode_plain_png(data, LIMIT):
        np.testing.assert_array_equal(picture.pixels, decode(data, LIMIT).pixels)
    else:
        assert len(rows) != 29 * 28
    assert capfd.readouterr() == ("", "")


def test_what_makes_opencv_print_something_is_left_to_the_general_decoder(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A stream that refers further back than it says, and one with bytes after its end, do not reach OpenCV."""
    half = np.random.default_rng(0).integers(0, 256, (40, 100)).astype(np.uint8)
    rows = np.pad(np.vstack([half, half]), ((0, 0), (1, 0))).tobytes()
    stream = zlib.compress(rows)
    small_window = b"\x08\x1d" + stream[2:]  # 256 bytes
    for changed in (small_window, stream + b"x"):
        data = png(np.vstack([half, half]))[:33] + chunk(b"IDAT", changed) + PNG_END
        assert decode_plain_png(data, LIMIT) is None
        np.testing.assert_array_equal(decode(data, LIMIT).pixels, np.vstack([half, half]))
    assert capfd.readouterr() == ("", "")


@given(st.binary(max_size=60), st.integers(0, 400))
@settings(max_examples=300, deadline=None)
def test_damaged_streams_with_right_checksums_are_never_decoded_differently(noise: bytes, place: int) -> None:
    """Noise replaces a part of the compressed stream: the result is the general decoder's, or None."""
    file = png(np.arange(784, dtype=np.uint8).reshape(28, 28))
    stream = file[41:-16]
    stream = stream[:place] + noise + stream[place + len(noise) :]
    data = file[:33] + chunk(b"IDAT", stream) + PNG_END
    if picture := decode_plain_png(data, LIMIT):
        np.testing.assert_array_equal(picture.pixels, decode(data, LIMIT).pixels)


def test_both_decoders_agree_on_a_digit(seven: Grey) -> None:
    """The general decoder gives the same pixels."""
    plain, general = decode_plain_png(png(seven), LIMIT), decode(png(seven), LIMIT)
    assert plain is not None
    np.testing.assert_array_equal(plain.pixels, general.pixels)
