"""Decoding: every format and mode gives the same grey, and every hostile file the right error."""

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

from app.errors import BrokenImageError, ImageSizeError, RequestError, UnsupportedMediaError
from app.imaging.decode import ORIENTATION_TAG, decode
from app.imaging.rectangle import Rectangle
from tests.support.pictures import (
    EXACT,
    FILES,
    Grey,
    chunk,
    encode,
    motion_photo,
    png,
    with_chunks,
    with_scans,
    with_segments,
)

LIMIT = 1_000_000


def make_header(width: int, height: int) -> bytes:
    """Return a PNG that claims this size and has no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize("name", EXACT)
def test_lossless_files_decode_to_the_original_pixels(name: str, seven: Grey) -> None:
    """Whatever the mode, a file that stores the same grey levels decodes to exactly these."""
    np.testing.assert_array_equal(decode(FILES[name](seven), LIMIT).pixels, seven)


@pytest.mark.parametrize("name", sorted(set(FILES) - set(EXACT)))
def test_other_files_show_the_same_digit(name: str, seven: Grey) -> None:
    """Lossy, two-level, transparent or inverted: the pixels correlate with the digit's, positively or negatively."""
    pixels = decode(FILES[name](seven), LIMIT).pixels
    assert pixels.shape == seven.shape
    assert abs(np.corrcoef(pixels.ravel(), seven.ravel())[0, 1]) > 0.93


def test_dark_ink_on_transparency_gets_white_paper_and_light_ink_black_paper(seven: Grey) -> None:
    """Transparent paper gets the colour on which the ink is visible."""
    np.testing.assert_array_equal(decode(FILES["PNG black ink on nothing"](seven), LIMIT).pixels, 255 - seven)
    np.testing.assert_array_equal(decode(FILES["PNG white ink on nothing"](seven), LIMIT).pixels, seven)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    """65535 is white, half of it is half, and 255 is nearly black."""
    ramp = np.array([[0, 255, 257, 32896, 65535]], np.uint16)
    assert decode(encode(Image.fromarray(ramp)), LIMIT).pixels.tolist() == [[0, 1, 1, 128, 255]]


def test_few_bits_in_sixteen_are_all_that_there_is() -> None:
    """The brightest level says how many bits a picture uses. With 13 and more, it is a dark picture of 16 bits."""
    for white, last in ((255, 255), (1023, 255), (4095, 255), (8191, 32)):
        ramp = np.array([[0, white // 2, white]] * 30_000, np.uint16)  # more than one strip
        assert decode(encode(Image.fromarray(ramp)), LIMIT).pixels[-1].tolist() == [0, last // 2, last]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_large_jpeg_is_decoded_at_part_of_its_size(mode: str) -> None:
    """The picture still has the full size, and a box in the decoded pixels can be converted to it."""
    image = Image.new(mode, (4000, 3000), "white")
    picture = decode(encode(image, "JPEG"), 12_000_000)
    assert (picture.width, picture.height, picture.pixels.shape) == (4000, 3000, (1500, 2000))
    assert picture.to_full_size(Rectangle(0, 100, 2000, 1500)) == Rectangle(0, 200, 4000, 3000)


def test_the_size_of_a_large_sideways_jpeg_is_that_of_the_upright_picture() -> None:
    """Width and height are swapped, as a viewer shows the picture."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    picture = decode(encode(Image.new("L", (4000, 3000), 255), "JPEG", exif=exif), 12_000_000)
    assert (picture.width, picture.height, picture.pixels.shape) == (3000, 4000, (2000, 1500))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
def test_exif_orientation_is_applied(kind: str, orientation: int, seven: Grey) -> None:
    """A picture stored in any of the eight orientations is decoded upright."""
    stored = Image.fromarray(np.pad(seven, ((0, 0), (0, 12)))).convert("RGB")
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that stores a picture like this
    rotated = stored.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else stored
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    options = {"exif": exif, "quality": 100}
    if kind == "WEBP":
        options["lossless"] = True
    picture = decode(encode(rotated, kind, **options), LIMIT)
    assert (picture.width, picture.height) == stored.size
    expected = np.asarray(stored.convert("L")).ravel()
    assert np.corrcoef(picture.pixels.ravel(), expected)[0, 1] > 0.99


def test_damaged_exif_does_not_matter(seven: Grey) -> None:
    """A picture whose EXIF block is garbage is decoded as it is stored."""
    data = encode(Image.fromarray(seven).convert("RGB"), "JPEG", exif=b"Exif\0\0MM\0*garbage garbage", quality=95)
    assert decode(data, LIMIT).pixels.shape == (28, 28)


def test_an_animation_is_decoded_as_its_first_frame(seven: Grey) -> None:
    """Later frames of a GIF do not count."""
    frames = [Image.fromarray(seven), Image.fromarray(255 - seven)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(data, LIMIT).pixels, seven)


def test_formats_that_only_pillow_supports_are_refused(seven: Grey) -> None:
    """Pillow can decode a PPM, ICO or TGA file. The service refuses it."""
    for kind in ("PPM", "ICO", "TGA"):
        data = encode(Image.fromarray(seven), kind)
        Image.open(io.BytesIO(data)).load()
        with pytest.raises(UnsupportedMediaError):
            decode(data, LIMIT)


@pytest.mark.parametrize("size", [(50_000, 50_000), (1001, 1000), (1, 1_000_001), (2**31 - 1, 2**31 - 1)])
def test_size_is_checked_before_pixels_are_decoded(size: tuple[int, int]) -> None:
    """A header without pixels gets the error about its size. So nothing looked for the pixels."""
    with pytest.raises(ImageSizeError):
        decode(make_header(*size), LIMIT)


def test_the_pixel_limit_itself_is_allowed() -> None:
    """The limit is inclusive."""
    assert decode(png(np.zeros((28, 28), np.uint8)), 784).pixels.shape == (28, 28)
    with pytest.raises(ImageSizeError, match=r"28 x 28 pixels\. The limit is 783\."):
        decode(png(np.zeros((28, 28), np.uint8)), 783)


@pytest.mark.parametrize("name", ["PNG L", "JPEG L", "WebP", "BMP", "GIF"])
def test_a_file_cut_anywhere_is_an_error_or_a_picture(name: str, seven: Grey) -> None:
    """Truncated at any byte, a file raises nothing but our errors."""
    file = FILES[name](seven)
    for length in range(len(file)):
        with contextlib.suppress(RequestError):
            assert decode(file[:length], LIMIT).pixels.shape == (28, 28)
    with pytest.raises(BrokenImageError):
        decode(file[: len(file) // 2], LIMIT)


@given(st.sampled_from(sorted(FILES)), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8))
@settings(max_examples=300, deadline=None)
def test_a_mutated_file_is_an_error_or_a_picture(name: str, changes: list[tuple[int, int]]) -> None:
    """Whatever bytes change, the result is grey pixels within the limit or one of our errors."""
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


def with_preview(jpeg: bytes) -> bytes:
    """Return a JPEG with a smaller JPEG in a segment, as cameras write it. The smaller one has its own end."""
    preview = encode(Image.new("L", (8, 8)), "JPEG")
    return jpeg[:2] + b"\xff\xe2" + (len(preview) + 2).to_bytes(2, "big") + preview + jpeg[2:]


BLACK = np.zeros((28, 28), np.uint8)
TOO_MANY_PIECES = {
    "a JPEG of a hundred scans": with_scans(BLACK, 100),
    "a JPEG of a hundred scans behind a preview": with_preview(with_scans(BLACK, 100)),
    "a JPEG of a hundred scans without an end": with_scans(BLACK, 100)[:-2],
    "a JPEG of 100,000 segments": with_segments(BLACK, b"\xff\xe5\0\2" * 100_000),
    "a JPEG of EXIF blocks of ten bytes": with_segments(BLACK, b"\xff\xe1\0\x12Exif\0\0" + b"x" * 10, times=100_000),
    "a PNG of 100,000 chunks": with_chunks(BLACK, chunk(b"teSt", b"") * 100_000),
    "a PNG of a hundred colour profiles": with_chunks(
        BLACK, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**6))) * 100
    ),
}


@pytest.mark.parametrize("name", TOO_MANY_PIECES)
def test_a_file_in_far_too_many_pieces_is_refused(name: str) -> None:
    """Ten megabytes of such pieces would keep a decoder busy for minutes."""
    with pytest.raises(BrokenImageError):
        decode(TOO_MANY_PIECES[name], LIMIT)


def test_a_file_in_many_pieces_is_decoded(seven: Grey) -> None:
    """The limits are above the number of scans, segments and chunks that real encoders write."""
    for data in (
        encode(Image.fromarray(seven).convert("RGB"), "JPEG", progressive=True),
        with_segments(seven, b"\xff\xe2\0\2" * 1_000),
        with_preview(encode(Image.fromarray(seven), "JPEG")),
        motion_photo(seven),
        with_chunks(seven, chunk(b"tEXt", b"a\0b") * 5_000),
    ):
        assert decode(data, LIMIT).pixels.shape == (28, 28)


def test_run_length_encoding_is_decoded_only_for_small_pictures() -> None:
    """A BMP of a kilobyte may have up to a million pixels, because Pillow decodes it in Python."""

    def make_bmp(width: int, height: int) -> bytes:
        header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 4, 0, 0, 256, 0)
        skip_all_pixels = b"\0\2\0\xff"
        return b"BM" + struct.pack("<IHHI", 1082, 0, 0, 1078) + header + bytes(1024) + skip_all_pixels

    assert decode(make_bmp(1000, 255), 10**7).pixels.shape == (255, 1000)
    with pytest.raises(ImageSizeError, match=r"1001 x 1000 pixels\. The limit is 1,000,000\."):
        decode(make_bmp(1001, 1000), 10**7)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK", "I;16"])
def test_a_pixel_takes_a_few_bytes(mode: str) -> None:
    """Whatever the mode, a megapixel takes less than four bytes per pixel in addition to Pillow's own memory."""
    data = encode(Image.new("L", (1000, 1000), 77).convert(mode), "JPEG" if mode == "CMYK" else "PNG")
    decode(data, LIMIT)
    tracemalloc.start()
    decode(data, LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6
