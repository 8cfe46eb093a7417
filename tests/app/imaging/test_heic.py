"""HEIC: pictures are upright and exact, and files that would cost too much are refused before they are decoded."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from app.errors import BrokenImageError, ImageSizeError, RequestError
from app.imaging.decode import ORIENTATION_TAG, decode, open_image
from app.imaging.heic import check_heic
from tests.support.heic_boxes import Item, box, code, crop_property, full_box, grid, make_heic, size_property
from tests.support.pictures import EXTRA, Grey, heic

pytest.importorskip("pillow_heif", reason=EXTRA)

LIMIT = 1_000_000
COPIES = 900
TRANSPARENCY = full_box(b"auxC", 0, b"urn:mpeg:hevc:2015:auxid:1\0")
BRIGHTNESS = full_box(b"auxC", 0, b"urn:com:apple:photo:2020:aux:hdrgainmap\0")


def one_picture(side: int, *properties: bytes, claimed: int | None = None) -> bytes:
    """Return a file of one grey square, which may claim another size."""
    picture = code(side)
    everything = [picture.configuration, size_property(claimed or side, claimed or side), *properties]
    return make_heic([Item(b"hvc1", picture.data, [*range(1, len(everything) + 1)])], everything)


def picture_of_tiles(side: int, tiles: list[int], shown: int) -> bytes:
    """Return a grid that shows ``shown`` x ``shown`` pixels of tiles. Item 2 is the only tile."""
    tile = code(side)
    columns = round(len(tiles) ** 0.5)
    items = [Item(b"grid", grid(columns, columns, shown, shown), [3]), Item(b"hvc1", tile.data, [1, 2])]
    properties = [tile.configuration, size_property(side, side), size_property(shown, shown)]
    return make_heic(items, properties, [(b"dimg", 1, tiles)])


def picture_with_auxiliary(purpose: bytes) -> bytes:
    """Return a small picture with a large auxiliary one."""
    small, large = code(64), code(1_200)
    items = [Item(b"hvc1", small.data, [1, 2]), Item(b"hvc1", large.data, [3, 4, 5])]
    properties = [small.configuration, size_property(64, 64), large.configuration, size_property(1_200, 1_200), purpose]
    return make_heic(items, properties, [(b"auxl", 2, [1])])


def shared_profile() -> bytes:
    """Return many pictures with the same colour profile of a megabyte. Each would get its own copy."""
    picture = code(64)
    profile = box(b"colr", b"prof", bytes(10**6))
    items = [Item(b"hvc1", picture.data, [1, 2, 3])] * COPIES
    return make_heic(items, [picture.configuration, size_property(64, 64), profile])


def shared_metadata() -> bytes:
    """Return many pictures with the same metadata of a megabyte."""
    picture = code(64)
    items = [*[Item(b"hvc1", picture.data, [1, 2])] * COPIES, Item(b"Exif", bytes(10**6))]
    references = [(b"cdsc", COPIES + 1, list(range(1, COPIES + 1)))]
    return make_heic(items, [picture.configuration, size_property(64, 64)], references)


REFUSED: dict[str, tuple[Callable[[], bytes], type[RequestError]]] = {
    "a large picture": (lambda: one_picture(1_008), ImageSizeError),
    "a large picture that is cropped": (lambda: one_picture(1_008, crop_property(28, 28)), ImageSizeError),
    "a small picture that claims to be large": (lambda: one_picture(64, claimed=9_000), ImageSizeError),
    "a picture without a size": (lambda: one_picture(64).replace(b"ispe", b"free"), BrokenImageError),
    "a small grid of large tiles": (lambda: picture_of_tiles(512, [2] * 16, 28), ImageSizeError),
    "a grid that is its own tile": (lambda: picture_of_tiles(64, [1], 28), BrokenImageError),
    "large transparency": (lambda: picture_with_auxiliary(TRANSPARENCY), ImageSizeError),
    "a colour profile 900 times": (shared_profile, BrokenImageError),
    "metadata 900 times": (shared_metadata, BrokenImageError),
    "a sequence": (lambda: one_picture(64) + box(b"moov", bytes(8)), BrokenImageError),
    "two tables of items": (lambda: one_picture(64) + one_picture(64), BrokenImageError),
    "a box longer than the file": (lambda: one_picture(64) + b"\0\1\0\0free", BrokenImageError),
    "100,000 boxes": (lambda: one_picture(64) + box(b"free") * 100_000, BrokenImageError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_costly_file_is_refused_before_it_is_decoded(name: str) -> None:
    """Whatever the boxes claim, a file that would take much time or memory is refused while it is opened."""
    make, error = REFUSED[name]
    with pytest.raises(error):
        open_image(make(), LIMIT)


def test_a_false_size_is_detected() -> None:
    """A large picture that claims to be small is not decoded."""
    with pytest.raises(BrokenImageError):
        decode(one_picture(2_000, claimed=64), LIMIT)


def test_what_is_never_decoded_does_not_count() -> None:
    """An iPhone's map of brightness is not added to the picture, but transparency is."""
    assert check_heic(picture_with_auxiliary(BRIGHTNESS), 2_000_000) == 1_200 * 1_200
    assert check_heic(picture_with_auxiliary(TRANSPARENCY), 2_000_000) == 1_200 * 1_200 + 64 * 64


def test_cropped_pixels_count_as_work() -> None:
    """A small part of a large picture counts with all its pixels, so it is not decoded in the event loop."""
    opened = open_image(one_picture(512, crop_property(28, 28)), LIMIT)
    assert opened.image.size == (28, 28)
    assert opened.pixel_count == 512 * 512


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_turned_once(orientation: int, seven: Grey) -> None:
    """A picture that its boxes turn, and whose EXIF says so again, is upright."""
    upright = Image.fromarray(np.pad(seven, ((0, 0), (0, 12))))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that stores a picture like this
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    picture = decode(heic(stored, exif=exif.tobytes()), LIMIT)
    assert (picture.format, picture.width, picture.height) == ("HEIC", *upright.size)
    np.testing.assert_array_equal(picture.pixels, np.asarray(upright))


def test_a_grid_is_put_together() -> None:
    """A picture in tiles, as phones write it, has the same pixels as in one piece."""
    levels = np.linspace(0, 255, 300 * 200).reshape(200, 300).astype(np.uint8)
    data = heic(Image.fromarray(levels), tile_size=64)
    np.testing.assert_array_equal(decode(data, LIMIT).pixels, levels)
    assert open_image(data, LIMIT).pixel_count == 64 * 64 * 5 * 4


def test_ten_bits_become_eight() -> None:
    """A picture with more than 8 bits has the same grey levels."""
    levels = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    pixels = decode(heic(Image.fromarray(levels)), LIMIT).pixels
    assert np.abs(pixels.astype(int) - levels // 257).max() <= 1


def test_the_first_of_several_pictures_is_read(seven: Grey) -> None:
    """The picture that a viewer shows counts."""
    others = {"save_all": True, "append_images": [Image.new("L", (40, 40), 255)]}
    np.testing.assert_array_equal(decode(heic(Image.fromarray(seven), **others), LIMIT).pixels, seven)


def test_a_thumbnail_is_not_read_instead(seven: Grey) -> None:
    """A file with a thumbnail decodes to the whole picture."""
    large = Image.fromarray(seven).resize((280, 280))
    np.testing.assert_array_equal(decode(heic(large, thumbnails=[64]), LIMIT).pixels, np.asarray(large))


def test_a_file_cut_anywhere_is_an_error_or_a_picture(seven: Grey) -> None:
    """Truncated at any byte, a file raises nothing but our errors."""
    file = heic(Image.fromarray(seven))
    for length in range(12, len(file)):
        with pytest.raises(BrokenImageError):
            decode(file[:length], LIMIT)
