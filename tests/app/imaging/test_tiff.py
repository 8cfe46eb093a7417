"""TIFF: the first page is read, and files that would cost too much are refused before they are decoded."""

import contextlib
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from app.errors import BrokenImageError, ImageSizeError, RequestError
from app.imaging.decode import ORIENTATION_TAG, decode, open_image
from app.imaging.tiff import COMPRESSIONS, MAX_PIECES, check_tiff
from tests.support.pictures import EXTRA, Grey, encode, tiff, with_scans
from tests.support.tiff_tags import LONG, RATIONAL, SHORT, UNDEFINED, grey_tags, make_directory, make_tiff, tile_tags

pytest.importorskip("pillow_heif", reason=EXTRA)

LIMIT = 1_000_000
GREY = grey_tags(28, 28, strip_bytes=784)
PIXELS = bytes(range(28)) * 28
FRACTIONS = {282: (RATIONAL, [1, 3] * 1_000_000)}


def with_exif(tags: dict[int, tuple[int, list[int]]]) -> bytes:
    """Return a picture with an EXIF directory."""
    offset = 8 + len(PIXELS)
    return make_tiff(GREY | {34665: (LONG, [offset])}, PIXELS + make_directory(tags, offset))


def with_tags(count: int) -> bytes:
    """Return a picture with this many tags, all of which name the same two megabytes."""
    many = {tag: (UNDEFINED, bytes(8)) for tag in range(50_000, 50_000 + count)}
    file = make_tiff(GREY | many, PIXELS)
    long = struct.pack("<HI", UNDEFINED, 8), struct.pack("<HI", UNDEFINED, 2_000_000)
    return file.replace(*long) + bytes(2_000_000)


def jpeg_strip(scans: int, strip_bytes: int | None = None) -> bytes:
    """Return a picture whose only strip is a JPEG of so many scans."""
    strip = with_scans(np.zeros((28, 28), np.uint8), scans)
    return make_tiff(grey_tags(28, 28, 7, strip_bytes=len(strip) if strip_bytes is None else strip_bytes), strip)


EMPTY_ROW = zlib.compress(b"\0")
HUGE_TILE = zlib.compress(bytes(10**7))
REFUSED: dict[str, tuple[Callable[[], bytes], type[RequestError]]] = {
    "a large picture": (lambda: make_tiff(grey_tags(1001, 1000, 4)), ImageSizeError),
    "2^31 x 2^31 pixels": (lambda: make_tiff(grey_tags(2**31, 2**31, 4)), ImageSizeError),
    "no pixels": (lambda: make_tiff(grey_tags(0, 0)), BrokenImageError),
    "a huge tile": (lambda: make_tiff(tile_tags(28, 30_000, len(HUGE_TILE)), HUGE_TILE), BrokenImageError),
    "too many strips": (lambda: make_tiff(grey_tags(1, 60_000, 8, 60_000, 1), EMPTY_ROW * 10_000), BrokenImageError),
    "strips that share their bytes": (
        lambda: make_tiff(grey_tags(9, 900, 8, 900, 10_000), bytes(10_000)),
        BrokenImageError,
    ),
    "a million fractions": (lambda: make_tiff(GREY | FRACTIONS, PIXELS), BrokenImageError),
    "a million fractions in EXIF": (lambda: with_exif({33434: (RATIONAL, [1, 3] * 1_000_000)}), BrokenImageError),
    "a million numbers": (lambda: make_tiff(GREY | {258: (SHORT, [8] * 1_000_000)}, PIXELS), BrokenImageError),
    "a tag twice": (lambda: make_tiff(GREY, PIXELS).replace(b"\6\1\3\0", b"\3\1\3\0"), BrokenImageError),
    "a size of an unusual type": (lambda: make_tiff(GREY | {256: (RATIONAL, [28, 1])}, PIXELS), BrokenImageError),
    "2^31 samples": (lambda: make_tiff(GREY | {277: (LONG, [2**31])}, PIXELS), BrokenImageError),
    "a directory behind the end": (lambda: b"II*\0\xff\xff\xff\x7f" + bytes(100), BrokenImageError),
    "a JPEG of a hundred scans": (lambda: jpeg_strip(100), BrokenImageError),
    "a JPEG of a hundred scans in a strip without a size": (lambda: jpeg_strip(100, strip_bytes=0), BrokenImageError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_costly_file_is_refused_before_it_is_decoded(name: str) -> None:
    """Whatever the tags claim, a file that would take much time or memory is refused while it is opened."""
    make, error = REFUSED[name]
    with pytest.raises(error):
        open_image(make(), LIMIT)


def test_missing_data_is_an_error() -> None:
    """A file that claims a strip and has none is broken."""
    with pytest.raises(BrokenImageError):
        decode(make_tiff(grey_tags(28, 28, 4, strip_bytes=100)), LIMIT)


def test_the_limits_are_above_what_scanners_write() -> None:
    """A strip for each row of a long page, a tile that is larger than the picture, and long private tags are fine."""
    rows = grey_tags(100, MAX_PIECES, 8, MAX_PIECES, 1)
    check_tiff(make_tiff(rows, bytes(MAX_PIECES)))
    tile = zlib.compress(bytes(256 * 256))
    assert decode(make_tiff(tile_tags(28, 256, len(tile)), tile), LIMIT).pixels.shape == (28, 28)
    assert decode(with_tags(1), LIMIT).pixels.shape == (28, 28)


def test_tags_take_no_more_memory_than_the_file() -> None:
    """Thousands of tags that name the same two megabytes, or more than the file has, are skipped."""
    for data in (with_tags(4_000), with_tags(1).replace(struct.pack("<I", 2_000_000), b"\xff" * 4)):
        assert decode(data, LIMIT).pixels.shape == (28, 28)


def test_directories_that_form_a_circle_do_no_harm() -> None:
    """A page that names itself as its next page, and as its own EXIF, is read once."""
    file = make_tiff(GREY | {34665: (LONG, [8 + len(PIXELS)])}, PIXELS)
    last = len(file) - 4
    looping = file[:last] + struct.pack("<I", 8 + len(PIXELS))
    assert decode(looping, LIMIT).pixels.tobytes() == PIXELS


def test_only_the_first_page_is_read(seven: Grey) -> None:
    """A document of three pages decodes to its first page."""
    others = [Image.new("L", (500, 400), 255), Image.new("RGB", (28, 28))]
    data = tiff(Image.fromarray(seven), save_all=True, append_images=others)
    picture = decode(data, LIMIT)
    np.testing.assert_array_equal(picture.pixels, seven)
    assert picture.format == "TIFF"


def test_the_scans_of_other_pages_do_not_count(seven: Grey) -> None:
    """A document of a hundred pages in JPEG is read, although each page has a scan."""
    pages = [Image.fromarray(seven)] * 100
    data = tiff(pages[0], save_all=True, append_images=pages[1:], compression="jpeg", quality=95)
    assert decode(data, LIMIT).pixels.shape == (28, 28)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_turned_once(orientation: int, compression: str, seven: Grey) -> None:
    """A picture stored in any of the eight orientations is decoded upright, by either of Pillow's two decoders."""
    upright = Image.fromarray(np.pad(seven, ((0, 0), (0, 12))))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that stores a picture like this
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    picture = decode(tiff(stored, compression=compression, tiffinfo={ORIENTATION_TAG: orientation}), LIMIT)
    assert (picture.width, picture.height) == upright.size
    np.testing.assert_array_equal(picture.pixels, np.asarray(upright))


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_are_scaled(order: str) -> None:
    """In both byte orders, 65535 is white and half of it is half."""
    ramp = np.array([[0, 255, 257, 32896, 65535]], f"{order}u2")
    assert decode(tiff(Image.fromarray(ramp)), LIMIT).pixels.tolist() == [[0, 1, 1, 128, 255]]


def test_zero_may_be_white() -> None:
    """If a file with 16 bits says that 0 is white, 0 is white."""
    ramp = np.array([[0, 255, 257, 32896, 65535]], "<u2")
    data = tiff(Image.fromarray(ramp), tiffinfo={262: 0})
    assert decode(data, LIMIT).pixels.tolist() == [[255, 254, 254, 127, 0]]


@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("compression", ["raw", "group3", "group4", "tiff_ccitt", "packbits"])
def test_one_bit_is_black_or_white(compression: str, white_is_zero: bool) -> None:
    """A fax has the same pixels whether its file says that 0 is white or black."""
    bits = np.indices((20, 40)).sum(0) % 3 == 0
    options = {"tiffinfo": {262: 0}} if white_is_zero else {}
    pixels = decode(tiff(Image.fromarray(bits), compression=compression, **options), LIMIT).pixels
    np.testing.assert_array_equal(pixels, bits * np.uint8(255))


def test_colours_become_grey_as_in_a_png() -> None:
    """RGB, CMYK and planes that are stored one after the other give the grey of the same picture as PNG."""
    colours = np.random.default_rng(1).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    image = Image.fromarray(colours)
    expected = decode(encode(image), LIMIT).pixels
    np.testing.assert_array_equal(decode(tiff(image), LIMIT).pixels, expected)
    np.testing.assert_array_equal(decode(tiff(image.convert("CMYK")), LIMIT).pixels, expected)
    planes = [zlib.compress(colours[..., channel].tobytes()) for channel in range(3)]
    lengths = [len(plane) for plane in planes]
    tags = grey_tags(40, 30, 8) | {
        258: (SHORT, [8] * 3),
        262: (SHORT, [2]),
        273: (LONG, [8, 8 + lengths[0], 8 + lengths[0] + lengths[1]]),
        277: (SHORT, [3]),
        279: (LONG, lengths),
        284: (SHORT, [2]),
    }
    np.testing.assert_array_equal(decode(make_tiff(tags, b"".join(planes)), LIMIT).pixels, expected)


@pytest.mark.parametrize("compression", [6, 34925, 50000, 50001])
def test_other_compressions_are_refused(compression: int) -> None:
    """No decoder but those of the listed compressions runs. The message lists them."""
    assert compression not in COMPRESSIONS
    with pytest.raises(BrokenImageError, match="CCITT group 4, LZW, JPEG, deflate, PackBits"):
        decode(make_tiff(grey_tags(28, 28, compression, strip_bytes=784), PIXELS), LIMIT)


def test_a_damaged_file_writes_nothing(seven: Grey, capfd: pytest.CaptureFixture[str]) -> None:
    """libtiff would write a line to stderr for each damaged row."""
    noise = np.random.default_rng(1).bytes(1_000)
    for compression in (2, 3, 4, 5, 7, 8, 32773):
        with contextlib.suppress(BrokenImageError):
            decode(make_tiff(grey_tags(28, 28, compression, strip_bytes=1_000) | {258: (SHORT, [1])}, noise), LIMIT)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "group4", "jpeg"])
def test_a_file_cut_anywhere_is_an_error_or_a_picture(compression: str, seven: Grey) -> None:
    """Truncated at any byte, a file raises nothing but our errors."""
    image = Image.fromarray(seven)
    file = tiff(image.convert("1") if compression == "group4" else image, compression=compression)
    for length in range(4, len(file)):
        try:
            assert decode(file[:length], LIMIT).pixels.shape == (28, 28)
        except RequestError:
            continue
