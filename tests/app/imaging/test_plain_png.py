"""Plain PNGs: the same pixels as the general way gives, or left to it."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.imaging import decode
from app.imaging.decode import decode
from tests.support.pictures import Grey, encode, png

LIMIT = 10_000


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
@settings(deadline=None)
def test_pixels_are_those_of_the_general_way(pixels: Grey) -> None:
    """Any grey picture, of any shape, comes out as it went in."""
    picture = decode.decode_plain_png(png(pixels), LIMIT)
    assert picture is not None
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert (picture.format, picture.width, picture.height) == ("PNG", *pixels.shape[::-1])


def test_real_digits_take_the_quick_way(digits: list[tuple[int, Grey]]) -> None:
    """What scripts send is plain."""
    for _, image in digits:
        assert decode.decode_plain_png(png(image), LIMIT) is not None


def with_note(image: Image.Image) -> bytes:
    file, note = io.BytesIO(), PngInfo()
    note.add_text("note", "hello")
    image.save(file, "PNG", pnginfo=note)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_other_kinds_of_png_are_left_to_the_general_way(mode: str, seven: Grey) -> None:
    """Colour, transparency, palettes and other depths are not plain."""
    assert decode.decode_plain_png(encode(Image.fromarray(seven).convert(mode)), LIMIT) is None


def test_what_has_more_in_it_is_left_to_the_general_way(seven: Grey) -> None:
    """Other chunks, bytes after the end, other types and too many pixels."""
    assert decode.decode_plain_png(with_note(Image.fromarray(seven)), LIMIT) is None
    assert decode.decode_plain_png(png(seven) + b"x", LIMIT) is None
    assert decode.decode_plain_png(encode(Image.fromarray(seven), "JPEG"), LIMIT) is None
    assert decode.decode_plain_png(png(seven), 783) is None
    assert decode.decode_plain_png(b"", LIMIT) is None


def test_no_damage_gets_through(seven: Grey, capfd: pytest.CaptureFixture[str]) -> None:
    """A picture with any byte changed, or cut anywhere, is not taken, and no decoder complains on the terminal."""
    whole = png(seven)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        assert decode.decode_plain_png(bytes(damaged), LIMIT) is None
        assert decode.decode_plain_png(whole[:place], LIMIT) is None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("rows", [b"", b"\x05" + bytes(28), bytes(29 * 28 - 1), bytes(29 * 28 + 1), bytes(10**7)])
def test_wrong_contents_with_right_checksums_are_as_the_general_way_has_them(
    rows: bytes, seven: Grey, capfd: pytest.CaptureFixture[str]
) -> None:
    """Too few rows, too many, a bomb or a filter that there is not: never read otherwise than by Pillow."""
    stream = zlib.compress(rows)
    chunk = b"IDAT" + stream
    data = png(seven)[:33] + len(stream).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) + quick_png.END
    if picture := decode.decode_plain_png(data, LIMIT):
        np.testing.assert_array_equal(picture.pixels, decode(data, LIMIT).pixels)
    else:
        assert len(rows) < 29 * 28
    assert capfd.readouterr() == ("", "")


@given(st.binary(max_size=60), st.integers(0, 400))
@settings(max_examples=300, deadline=None)
def test_streams_of_any_bytes_are_never_read_otherwise(noise: bytes, place: int) -> None:
    """A compressed stream with anything in its midst, checksum put right: the general way gives the same or nothing is
    given."""
    whole = png(np.arange(784, dtype=np.uint8).reshape(28, 28))
    stream = whole[41:-16]
    stream = stream[:place] + noise + stream[place + len(noise) :]
    chunk = b"IDAT" + stream
    data = whole[:33] + len(stream).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) + quick_png.END
    if picture := decode.decode_plain_png(data, LIMIT):
        np.testing.assert_array_equal(picture.pixels, decode(data, LIMIT).pixels)


def test_both_ways_agree_on_a_digit(seven: Grey) -> None:
    """The general way gives the same picture."""
    quick, general = decode.decode_plain_png(png(seven), LIMIT), decode(png(seven), LIMIT)
    assert quick is not None
    np.testing.assert_array_equal(quick.pixels, general.pixels)
