"""Checks the tags of a TIFF file before Pillow and libtiff see it.

The pixels of a TIFF lie in strips or tiles, wherever its tags say. So many strips can share the same bytes, and a
picture of a few pixels can have one huge tile.
"""

import ctypes
import struct
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from PIL import features

from app.errors import BrokenImageError

# The compressions that scanners and their software write, by the number in the file. Others, such as WebP and
# zstd, would let more decoders run.
COMPRESSIONS = {
    1: "none",
    2: "CCITT RLE",
    3: "CCITT group 3",
    4: "CCITT group 4",
    5: "LZW",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32946: "deflate",  # its old number
}
JPEG = 7

# Tags, by their names in TIFF 6.0.
IMAGE_WIDTH, IMAGE_LENGTH, COMPRESSION, SAMPLES_PER_PIXEL, ROWS_PER_STRIP = 256, 257, 259, 277, 278
STRIP_OFFSETS, STRIP_BYTE_COUNTS, PLANAR_CONFIGURATION = 273, 279, 284
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTE_COUNTS = 322, 323, 324, 325
DIRECTORY_POINTERS = (34665, 34853, 40965)  # Exif, GPS and interoperability: Pillow reads these directories too

NUMBER_SIZES = {3: 2, 4: 4, 13: 4}  # bytes of the types SHORT, LONG and IFD
BYTES_TYPES = (1, 2, 7)  # BYTE, ASCII and UNDEFINED, which Pillow does not convert value by value
FRACTION_TYPES = (5, 10)
SEPARATE_PLANES = 2

MAX_PIECES = 50_000  # strips or tiles; each takes a few microseconds, even if it is empty
MAX_VALUES = 200_000  # numbers in a directory; Pillow makes a Python object of each, which takes 0.1 µs
MAX_FRACTIONS = 1_000  # among them, which take 5 µs each
MAX_TILE_PIXELS = 1_048_576  # of a picture that is smaller than half of a tile
MAX_SHARING = 2  # of the bytes of all strips or tiles to those of the file
MAX_EXTRA_SCANS = 64  # beyond one for each strip or tile; see MAX_JPEG_SCANS in app.imaging.decode


@cache
def silence_libtiff() -> None:
    """Turn off libtiff's messages. It would write a line to stderr for each damaged row, so millions for a small file.

    Pillow has no function for this. libtiff has, and Pillow's module has loaded libtiff.
    """
    module = find_spec(features.modules["pil"][0])
    assert module
    library = ctypes.CDLL(module.origin)
    with suppress(AttributeError):  # in a Pillow that hides its libtiff
        library.TIFFSetErrorHandler(None)


class Tag(NamedTuple):
    """A tag of a directory, without its values."""

    type: int
    length: int  # values
    place: int  # of the four bytes with the value, or with the offset of the values


class Directory:
    """The tags of one picture in a TIFF file.

    Raises:
        ValueError: It has a tag twice, or far too many values.
        struct.error: It is cut short.
    """

    def __init__(self, data: bytes, offset: int) -> None:
        self._data, self._order = data, "<" if data.startswith(b"II") else ">"
        (count,) = struct.unpack_from(f"{self._order}H", data, offset)
        self.tags: dict[int, Tag] = {}
        for place in range(offset + 2, offset + 2 + 12 * count, 12):
            tag, type_, length = struct.unpack_from(f"{self._order}HHI", data, place)
            if tag in self.tags:  # Pillow and libtiff could disagree which one counts
                raise ValueError("a tag is there twice")
            self.tags[tag] = Tag(type_, length, place + 8)
        fractions = sum(tag.length for tag in self.tags.values() if tag.type in FRACTION_TYPES)
        values = sum(tag.length for tag in self.tags.values() if tag.type not in BYTES_TYPES)
        if fractions > MAX_FRACTIONS or values > MAX_VALUES:
            raise ValueError("far too many values")

    def numbers(self, tag: int) -> list[int]:
        """Return the values of a tag, or no values if it is missing.

        Raises:
            ValueError: They are not whole numbers, or lie outside the file.
        """
        if tag not in self.tags:
            return []
        type_, length, place = self.tags[tag]
        if (size := NUMBER_SIZES.get(type_)) is None:
            raise ValueError("a tag has an unusual type")
        if size * length > 4:
            (place,) = struct.unpack_from(f"{self._order}I", self._data, place)
        values = np.frombuffer(self._data, f"{self._order}u{size}", length, place)
        numbers: list[int] = values.tolist()
        return numbers

    def number(self, tag: int, default: int) -> int:
        """Return the only value of a tag, or ``default`` if it is missing. Raises ValueError if it has several."""
        (value,) = self.numbers(tag) or [default]
        return value


def check_tiff(data: bytes) -> None:
    """Check that the first picture of a file takes no more time and memory than its size suggests. Nothing is decoded.

    Raises:
        BrokenImageError: Its compression is not in ``COMPRESSIONS``.
        ValueError: The file is damaged, or would cost too much.
        ZeroDivisionError, struct.error: The file is damaged.
    """
    order = "<" if data.startswith(b"II") else ">"
    directory = Directory(data, *struct.unpack_from(f"{order}I", data, 4))
    for parent in (directory, *read_subdirectories(data, directory)):
        read_subdirectories(data, parent)
    compression = directory.number(COMPRESSION, 1)
    if compression not in COMPRESSIONS:
        raise BrokenImageError(
            f"The service reads TIFF files with these compressions: {', '.join(dict.fromkeys(COMPRESSIONS.values()))}."
        )
    width, height = directory.number(IMAGE_WIDTH, 0), directory.number(IMAGE_LENGTH, 0)
    piece_width = directory.number(TILE_WIDTH, width)
    piece_height = directory.number(TILE_LENGTH, min(height, directory.number(ROWS_PER_STRIP, height)))
    if piece_width * piece_height > max(MAX_TILE_PIXELS, 2 * width * height):
        raise ValueError("a tile is too large")
    pieces = -(-width // piece_width) * -(-height // piece_height)  # rounded up
    if directory.number(PLANAR_CONFIGURATION, 1) == SEPARATE_PLANES:
        pieces *= directory.number(SAMPLES_PER_PIXEL, 1)
    if pieces > MAX_PIECES:
        raise ValueError("far too many strips or tiles")
    sizes = directory.numbers(STRIP_BYTE_COUNTS) + directory.numbers(TILE_BYTE_COUNTS)
    if sum(sizes) > MAX_SHARING * len(data):
        raise ValueError("strips or tiles share their bytes")
    if compression == JPEG:
        offsets = directory.numbers(STRIP_OFFSETS) + directory.numbers(TILE_OFFSETS)
        if not all(sizes):  # libtiff would guess
            raise ValueError("a strip or tile without a size")
        # Only those of this page: others follow in the file.
        scans = sum(data.count(b"\xff\xda", at, at + size) for at, size in zip(offsets, sizes, strict=True))
        if scans > pieces + MAX_EXTRA_SCANS:
            raise ValueError("far too many scans")


def read_subdirectories(data: bytes, directory: Directory) -> list[Directory]:
    """Return the directories that a directory points to. Raises what ``Directory`` raises."""
    return [Directory(data, directory.number(tag, 0)) for tag in DIRECTORY_POINTERS if tag in directory.tags]
