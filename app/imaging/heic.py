"""Checks the boxes of a HEIC file before libheif sees it.

A HEIC file is a tree of boxes. Its box ``meta`` lists items: coded pictures, grids of them, and metadata. An item may
be part of many others. So a file of a few kilobytes can ask for hours of decoding, and one of ten megabytes for any
amount of memory. The check adds up what libheif could be asked to decode and to copy.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

from app.errors import BrokenImageError, ImageSizeError

MAX_BOXES = 4_000  # in one box
MAX_TABLE_BYTES = 100_000  # of the boxes that list items; a photo of 48 megapixels has 300 items in 6 kB
MAX_DEPTH = 4  # of items made of items; phones write two levels
MAX_PARTS_RATIO = 2  # of the pixels of all parts of a picture, which may overlap its edges, to the limit
MAX_COPIED_BYTES = 16_000_000  # of metadata and colour profiles, which libheif copies for each item that has them

TABLES = (b"iinf", b"iref", b"iloc")
SIZELESS = (b"Exif", b"mime", b"uri ", b"rgan")  # types of items that are not pictures
APPLE = b"urn:com:apple:"  # the beginning of the purpose of auxiliary pictures that are not transparency
SEQUENCES = (b"moov", b"mini")  # other ways than ``meta`` to describe what a file shows

Box = tuple[bytes, bytes]  # type and content


def check_heic(data: bytes, max_pixels: int) -> int:
    """Check that libheif can decode a file within our limits. Nothing is decoded.

    Returns the pixels to decode. They may be far more than those of the picture, which may be cropped.

    Args:
        data: The file.
        max_pixels: The most pixels that a picture in the file, or a part of one, may have.

    Raises:
        BrokenImageError: It is an image sequence.
        ImageSizeError: A picture, or all its parts together, have too many pixels.
        ValueError: The file is damaged, or would cost too much.
        IndexError, KeyError, struct.error: The file is damaged.
    """
    boxes = list(read_boxes(data))
    if any(kind in SEQUENCES for kind, _ in boxes):
        raise BrokenImageError("The HEIC file is an image sequence. The service reads pictures only.")
    (meta,) = (body for kind, body in boxes if kind == b"meta")
    items = HeicItems(meta[4:], len(data))
    for width, height in map(items.size, items.kinds):
        if width * height > max_pixels:
            raise ImageSizeError(f"The image has {width} x {height} pixels. The limit is {max_pixels:,}.")
    pixels = items.count_pixels()
    if pixels > MAX_PARTS_RATIO * max_pixels:
        raise ImageSizeError(f"The parts of the image have far more pixels than the limit of {max_pixels:,}.")
    if items.count_copied_bytes() > MAX_COPIED_BYTES:
        raise ValueError("metadata is repeated too often")
    return pixels


class HeicItems:
    """The items of a file.

    Args:
        meta: The boxes in the box ``meta``.
        file_size: In bytes.
    """

    def __init__(self, meta: bytes, file_size: int) -> None:
        boxes = list(read_boxes(meta))
        content = dict(boxes)
        kinds = [kind for kind, _ in boxes if kind in (*TABLES, b"iprp")]
        if len(kinds) > len(set(kinds)):  # the second could contradict the first
            raise ValueError("two boxes of one type")
        if any(len(content.get(kind, b"")) > MAX_TABLE_BYTES for kind in TABLES):
            raise ValueError("too many items")
        self.kinds = read_kinds(content[b"iinf"])  # item -> type
        self.properties = read_properties(content[b"iprp"])  # item -> its properties
        self.lengths = read_lengths(content[b"iloc"], file_size)  # item -> bytes
        self.references = list(read_references(content[b"iref"])) if b"iref" in content else []  # type, from, to
        self.tiles: dict[int, list[int]] = defaultdict(list)
        self.transparency: dict[int, list[int]] = defaultdict(list)
        for kind, source, targets in self.references:
            if kind == b"dimg":  # from a grid to its tiles
                self.tiles[source] += targets
            elif kind == b"auxl" and not self.is_left_out(source):  # from transparency to its picture
                for target in targets:
                    self.transparency[target].append(source)

    def size(self, item: int) -> tuple[int, int]:
        """Return the width and height of an item in pixels, before it is cropped and turned.

        Raises:
            ValueError: It is a picture and has no size.
        """
        sizes = [struct.unpack_from(">II", body, 4) for kind, body in self.properties[item] if kind == b"ispe"]
        if not sizes and self.kinds.get(item) not in SIZELESS:
            raise ValueError("a picture without a size")
        return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))

    def is_left_out(self, item: int) -> bool:
        """Return whether an auxiliary picture is one that we never decode: a map of depth, brightness or people."""
        return any(kind == b"auxC" and body[4:].startswith(APPLE) for kind, body in self.properties[item])

    def count_pixels(self) -> int:
        """Count the pixels to decode for the most expensive item: those of its tiles and of its transparency.

        Raises:
            ValueError: Items are nested too deeply, or in a circle.
        """

        @cache
        def count(item: int, depth: int) -> int:
            if depth > MAX_DEPTH:
                raise ValueError("items are nested too deeply")
            width, height = self.size(item)
            tiles = sum(count(tile, depth + 1) for tile in self.tiles[item])
            return max(width * height, tiles) + sum(count(part, depth + 1) for part in self.transparency[item])

        return max(count(item, 0) for item in self.kinds)

    def count_copied_bytes(self) -> int:
        """Count the bytes of properties and metadata, once for each item that they belong to."""
        properties = sum(len(body) for item in self.kinds for _, body in self.properties[item])
        return properties + sum(self.lengths[source] * len(targets) for _, source, targets in self.references)


def read_boxes(data: bytes) -> Iterator[Box]:
    """Yield the boxes in a file or in a box.

    Raises:
        ValueError: There are too many, or one is longer than ``data``.
        struct.error: The last one is cut short.
    """
    start = 0
    for _ in range(MAX_BOXES):
        if start == len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if length == 1:  # the real length follows
            head, (length,) = 16, struct.unpack_from(">Q", data, start + 8)
        elif length == 0:  # until the end
            length = len(data) - start
        if not head <= length <= len(data) - start:
            raise ValueError("a box is longer than what contains it")
        yield kind, data[start + head : start + length]
        start += length
    raise ValueError("too many boxes")


def read_numbers(data: bytes, start: int, size: int, count: int) -> list[int]:
    """Return unsigned numbers of ``size`` bytes each.

    Raises:
        ValueError: There are fewer.
    """
    if size * count > len(data) - start:
        raise ValueError("too few numbers")
    return [int.from_bytes(data[at : at + size]) for at in range(start, start + size * count, size)]


def read_kinds(iinf: bytes) -> dict[int, bytes]:
    """Return the type of each item."""
    kinds = {}
    for _, body in read_boxes(iinf[8 if iinf[0] else 6 :]):
        size = 4 if body[0] == 3 else 2
        (item,) = read_numbers(body, 4, size, 1)
        (kinds[item],) = struct.unpack_from("4s", body, 6 + size)
    return kinds


def read_references(iref: bytes) -> Iterator[tuple[bytes, int, list[int]]]:
    """Yield the references between items: type, from, to."""
    size = 4 if iref[0] else 2
    for kind, body in read_boxes(iref[4:]):
        (source,), (count,) = read_numbers(body, 0, size, 1), read_numbers(body, size, 2, 1)
        yield kind, source, read_numbers(body, size + 2, size, count)


def read_properties(iprp: bytes) -> dict[int, list[Box]]:
    """Return the properties of each item."""
    boxes = list(read_boxes(iprp))
    (ipco,) = (body for kind, body in boxes if kind == b"ipco")
    properties = list(read_boxes(ipco))
    found: dict[int, list[Box]] = defaultdict(list)
    for table in (body for kind, body in boxes if kind == b"ipma"):
        if len(table) > MAX_TABLE_BYTES:
            raise ValueError("too many properties")
        id_size, index_size = 4 if table[0] else 2, 2 if table[3] & 1 else 1
        mask = (1 << 8 * index_size - 1) - 1  # the first bit says whether a decoder must know the property
        (entries,), at = read_numbers(table, 4, 4, 1), 8
        for _ in range(entries):
            (item,), (used,) = read_numbers(table, at, id_size, 1), read_numbers(table, at + id_size, 1, 1)
            at += id_size + 1
            indexes = [number & mask for number in read_numbers(table, at, index_size, used)]
            found[item] += [properties[index - 1] for index in indexes if index]
            at += used * index_size
    return found


def read_lengths(iloc: bytes, file_size: int) -> dict[int, int]:
    """Return how many bytes each item has. A length that is 0 or missing means the rest of the file."""
    version = iloc[0]
    offset_size, length_size, base_size, index_size = iloc[4] >> 4, iloc[4] & 15, iloc[5] >> 4, iloc[5] & 15
    id_size, extent_size = 2 if version < 2 else 4, offset_size + length_size + (index_size if version else 0)
    (count,), at = read_numbers(iloc, 6, id_size, 1), 6 + id_size
    lengths: dict[int, int] = defaultdict(int)
    for _ in range(count):
        (item,) = read_numbers(iloc, at, id_size, 1)
        at += id_size + (2 if version else 0) + 2 + base_size
        (extents,), at = read_numbers(iloc, at, 2, 1), at + 2
        if not length_size:
            lengths[item] += extents * file_size
        else:
            ends = range(at + extent_size, at + extent_size * (extents + 1), extent_size)
            lengths[item] += sum(read_numbers(iloc, end - length_size, length_size, 1)[0] or file_size for end in ends)
        at += extents * extent_size
    return lengths
