"""TIFF files made tag by tag, to say what no encoder would write."""

import struct
from collections.abc import Mapping, Sequence

SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7
LETTERS = {SHORT: "H", LONG: "I", RATIONAL: "I", UNDEFINED: "B"}
HEAD_BYTES = 8

Tags = Mapping[int, tuple[int, Sequence[int]]]  # tag -> type and values; a rational has two numbers


def make_tiff(tags: Tags, data: bytes = b"") -> bytes:
    """Make a file: the header, ``data``, and a directory with ``tags``."""
    return struct.pack("<4sI", b"II*\0", HEAD_BYTES + len(data)) + data + make_directory(tags, HEAD_BYTES + len(data))


def make_directory(tags: Tags, offset: int) -> bytes:
    """Make a directory that lies at ``offset``, followed by the values that do not fit into it."""
    entries, values = b"", b""
    for tag, (kind, numbers) in sorted(tags.items()):
        raw = struct.pack(f"<{len(numbers)}{LETTERS[kind]}", *numbers)
        place = offset + 2 + 12 * len(tags) + 4 + len(values)
        entries += struct.pack("<HHI", tag, kind, len(numbers) // (2 if kind == RATIONAL else 1))
        entries += raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", place)
        values += raw if len(raw) > 4 else b""
    return struct.pack("<H", len(tags)) + entries + bytes(4) + values


def grey_tags(
    width: int, height: int, compression: int = 1, strips: int = 1, strip_bytes: int = 0
) -> dict[int, tuple[int, Sequence[int]]]:
    """Return the tags of a grey picture whose strips are all the same bytes, at the start of the data."""
    return {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [8]),
        259: (SHORT, [compression]),
        262: (SHORT, [1]),  # 0 is black
        273: (LONG, [HEAD_BYTES] * strips),
        278: (LONG, [-(-height // strips)]),
        279: (LONG, [strip_bytes] * strips),
    }


def tile_tags(side: int, tile_side: int, tile_bytes: int) -> dict[int, tuple[int, Sequence[int]]]:
    """Return the tags of a grey square that is the corner of one deflated tile."""
    tags = {tag: value for tag, value in grey_tags(side, side, 8).items() if tag < 273}
    tile = {322: (LONG, [tile_side]), 323: (LONG, [tile_side]), 324: (LONG, [HEAD_BYTES]), 325: (LONG, [tile_bytes])}
    return tags | tile
