"""Decoding: every mode and format to the same grey, and hostile files to the right error."""

import contextlib
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.imaging.rectangle import Rectangle
from app.errors import BrokenImageError, ImageSizeError, RequestError, UnsupportedMediaError
from app.imaging.decode import ORIENTATION, decode, identify
from tests.support.pictures import EXACT, FILES, Grey, chunk, encode, png, with_chunks, with_scans, with_segments

LIMIT = 1_000_000


def header_of(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and has the pixels of none of it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize("name", EXACT)
def test_lossless_files_give_the_digit_s_own_pixels(name: str, seven: Grey) -> None:
    """Whatever the mode, a file that holds the same greys decodes to them, level for level."""
    np.testing.assert_array_equal(decode(FILES[name](seven), LIMIT).pixels, seven)


@pytest.mark.parametrize("name", sorted(set(FILES) - set(EXACT)))
def test_other_files_show_the_same_digit(name: str, seven: Grey) -> None:
    """Lossy, two-level, transparent or inverted: the shape correlates with the digit's, one way round or the other."""
    pixels = decode(FILES[name](seven), LIMIT).pixels
    assert pixels.shape == seven.shape
    assert abs(np.corrcoef(pixels.ravel(), seven.ravel())[0, 1]) > 0.93


def test_dark_ink_on_nothing_lies_on_white_and_light_ink_on_black(seven: Grey) -> None:
    """Transparent paper takes the colour against which the ink can be seen."""
    np.testing.assert_array_equal(decode(FILES["PNG black ink on nothing"](seven), LIMIT).pixels, 255 - seven)
    np.testing.assert_array_equal(decode(FILES["PNG white ink on nothing"](seven), LIMIT).pixels, seven)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    """65535 is white, half of it is half, and 255 is nearly black."""
    ramp = np.array([[0, 255, 257, 32896, 65535]], np.uint16)
    assert decode(encode(Image.fromarray(ramp)), LIMIT).pixels.tolist() == [[0, 1, 1, 128, 255]]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_large_jpeg_is_decoded_at_part_of_its_size(mode: str) -> None:
    """Its own size is told all the same, and a box of what was decoded is one of the whole."""
    image = Image.new(mode, (4000, 3000), "white")
    picture = decode(encode(image, "JPEG"), 12_000_000)
    assert (picture.width, picture.height, picture.pixels.shape) == (4000, 3000, (1500, 2000))
    assert picture.in_picture(Rectangle(0, 100, 2000, 1500)) == Rectangle(0, 200, 4000, 3000)


def test_a_large_jpeg_that_lies_on_its_side_is_told_upright() -> None:
    """Width and height are those of the picture as it is looked at."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture = decode(encode(Image.new("L", (4000, 3000), 255), "JPEG", exif=exif), 12_000_000)
    assert (picture.width, picture.height, picture.pixels.shape) == (3000, 4000, (2000, 1500))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_exif_orientation_is_applied(kind: str, orientation: int, seven: Grey) -> None:
    """A picture stored in any of the eight orientations comes out upright."""
    stored = Image.fromarray(np.pad(seven, ((0, 0), (0, 12)))).convert("RGB")
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transpose that stores a picture so
    turned = stored.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else stored
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"exif": exif, "quality": 100}
    if kind == "WEBP":
        options["lossless"] = True
    picture = decode(encode(turned, kind, **options), LIMIT)
    assert (picture.width, picture.height) == stored.size
    expected = np.asarray(stored.convert("L")).ravel()
    assert np.corrcoef(picture.pixels.ravel(), expected)[0, 1] > 0.99


def test_damaged_exif_does_not_matter(seven: Grey) -> None:
    """A picture whose EXIF block is garbage is read as it lies."""
    data = encode(Image.fromarray(seven).convert("RGB"), "JPEG", exif=b"Exif\0\0MM\0*garbage garbage", quality=95)
    assert decode(data, LIMIT).pixels.shape == (28, 28)


def test_an_animation_is_its_first_frame(seven: Grey) -> None:
    """Of a GIF with several frames, the first is read."""
    frames = [Image.fromarray(seven), Image.fromarray(255 - seven)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(data, LIMIT).pixels, seven)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"%PDF-1.7", b"<svg/>", b"II*\0", b"SIMPLE  =", b"RIFF\0\0\0\0WAVE", b"8BPS"]
)
def test_what_is_none_of_our_types_is_told_by_its_first_bytes(data: bytes) -> None:
    """No decoder runs on anything but the five types; a file's name does not count."""
    with pytest.raises(UnsupportedMediaError, match="PNG, JPEG, WEBP, BMP, GIF"):
        decode(data, LIMIT)


def test_a_tiff_disguised_as_nothing_else_never_reaches_pillow(seven: Grey) -> None:
    """Formats that Pillow knows and we do not take are refused, though it could decode them."""
    for kind in ("TIFF", "PPM", "ICO", "TGA"):
        data = encode(Image.fromarray(seven), kind)
        Image.open(io.BytesIO(data)).load()
        with pytest.raises(UnsupportedMediaError):
            decode(data, LIMIT)


@pytest.mark.parametrize("size", [(50_000, 50_000), (1001, 1000), (1, 1_000_001), (2**31 - 1, 2**31 - 1)])
def test_size_is_checked_before_pixels_are_decoded(size: tuple[int, int]) -> None:
    """A header alone, with no pixels behind it, gets the error of its size: nobody looked for the pixels."""
    with pytest.raises(ImageSizeError):
        decode(header_of(*size), LIMIT)


def test_the_pixel_limit_itself_is_allowed() -> None:
    """The limit is inclusive."""
    assert decode(png(np.zeros((28, 28), np.uint8)), 784).pixels.shape == (28, 28)
    with pytest.raises(ImageSizeError, match="28 x 28 pixels, and 783 are allowed"):
        decode(png(np.zeros((28, 28), np.uint8)), 783)


@pytest.mark.parametrize("name", ["PNG L", "JPEG L", "WebP", "BMP", "GIF"])
def test_a_file_cut_anywhere_is_an_error_or_a_picture(name: str, seven: Grey) -> None:
    """Truncated at every byte, a file never raises anything but our errors."""
    whole = FILES[name](seven)
    for length in range(len(whole)):
        with contextlib.suppress(RequestError):
            assert decode(whole[:length], LIMIT).pixels.shape == (28, 28)
    with pytest.raises(BrokenImageError):
        decode(whole[: len(whole) // 2], LIMIT)


@given(st.sampled_from(sorted(FILES)), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8))
@settings(max_examples=300, deadline=None)
def test_a_mutated_file_is_an_error_or_a_picture(name: str, changes: list[tuple[int, int]]) -> None:
    """Whatever bytes change, decode gives grey pixels within the limit, or one of our errors."""
    ramp = np.arange(784, dtype=np.uint16).reshape(28, 28).astype(np.uint8)
    data = bytearray(FILES[name](ramp))
    for place, value in changes:
        data[place % len(data)] = value
    try:
        picture = decode(bytes(data), LIMIT)
    except RequestError:
        return
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.ndim == 2
    assert picture.pixels.size <= LIMIT


def test_every_type_is_told(seven: Grey) -> None:
    """The first bytes of each of our types are known."""
    for name, make in FILES.items():
        assert identify(make(seven)) == name.split()[0].upper()


BLACK = np.zeros((28, 28), np.uint8)
ENDLESS = {
    "a JPEG of a hundred scans": with_scans(BLACK, 100),
    "a JPEG of 100,000 segments": with_segments(BLACK, b"\xff\xe5\0\2" * 100_000),
    "a JPEG of EXIF, ten bytes at a time": with_segments(BLACK, b"\xff\xe1\0\x12Exif\0\0" + b"x" * 10, times=100_000),
    "a PNG of 100,000 chunks": with_chunks(BLACK, chunk(b"teSt", b"") * 100_000),
    "a PNG of a hundred colour profiles": with_chunks(
        BLACK, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**6))) * 100
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_file_in_far_too_many_pieces_is_broken(name: str) -> None:
    """What a decoder would be busy with for minutes, if there were ten megabytes of it, is refused."""
    with pytest.raises(BrokenImageError):
        decode(ENDLESS[name], LIMIT)


def test_a_file_in_many_pieces_is_read(seven: Grey) -> None:
    """As many scans, segments and chunks as real encoders write are none too many."""
    for data in (
        encode(Image.fromarray(seven).convert("RGB"), "JPEG", progressive=True),
        with_segments(seven, b"\xff\xe2\0\2" * 1_000),
        with_chunks(seven, chunk(b"tEXt", b"a\0b") * 5_000),
    ):
        assert decode(data, LIMIT).pixels.shape == (28, 28)


def test_run_lengths_are_decoded_for_small_pictures_alone() -> None:
    """A BMP of a kilobyte may have a million pixels and no more: Pillow decodes it in Python."""

    def run_length(width: int, height: int) -> bytes:
        header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 4, 0, 0, 256, 0)
        return (
            b"BM" + struct.pack("<IHHI", 1082, 0, 0, 1078) + header + bytes(1024) + b"\0\2\0\xff"
        )  # all of it skipped

    assert decode(run_length(1000, 255), 10**7).pixels.shape == (255, 1000)
    with pytest.raises(ImageSizeError, match="1001 x 1000 pixels, and 1,000,000 are allowed"):
        decode(run_length(1001, 1000), 10**7)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "I;16"])
def test_a_pixel_takes_a_few_bytes(mode: str) -> None:
    """Whatever the mode, memory for a picture of a megapixel is a few bytes a pixel beside Pillow's own."""
    data = encode(Image.new("L", (1000, 1000), 77).convert(mode))
    decode(data, LIMIT)
    tracemalloc.start()
    decode(data, LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6e6
