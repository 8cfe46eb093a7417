"""HEIC files made box by box, to say what no encoder would write."""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from tests.support.pictures import heic

Reference = tuple[bytes, int, list[int]]  # type, from, to


class Item(NamedTuple):
    """An item of a file. Items with the same ``content`` share its bytes."""

    kind: bytes
    content: bytes
    properties: list[int] = []  # noqa: RUF012  # numbers of properties, from 1; never changed


class Coded(NamedTuple):
    """A coded picture: the box that configures the decoder, and the data."""

    configuration: bytes
    data: bytes


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def full_box(kind: bytes, version: int, *parts: bytes) -> bytes:
    return box(kind, bytes([version, 0, 0, 0]), *parts)


def size_property(width: int, height: int) -> bytes:
    return full_box(b"ispe", 0, struct.pack(">II", width, height))


def crop_property(width: int, height: int) -> bytes:
    """Return the property that leaves only the centre of a picture."""
    return box(b"clap", struct.pack(">8I", width, 1, height, 1, 0, 1, 0, 1))


def grid(columns: int, rows: int, width: int, height: int) -> bytes:
    """Return the content of a grid item."""
    return struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)


def code(side: int) -> Coded:
    """Code a grey square."""
    file = heic(Image.new("L", (side, side), 90), quality=50, chroma=420)
    parts = []
    for kind in (b"hvcC", b"mdat"):
        start = file.index(kind) - 4
        parts.append(file[start : start + int.from_bytes(file[start : start + 4])])
    return Coded(parts[0], parts[1][8:])


def make_heic(items: Sequence[Item], properties: Sequence[bytes], references: Sequence[Reference] = ()) -> bytes:
    """Make a file. Items are numbered from 1, and the first one is the picture."""
    head = make_head(items, properties, references, {item.content: 0 for item in items})
    offsets, end = {}, len(head) + 8
    for content in dict.fromkeys(item.content for item in items):
        offsets[content] = end
        end += len(content)
    return make_head(items, properties, references, offsets) + box(b"mdat", *offsets)


def make_head(
    items: Sequence[Item], properties: Sequence[bytes], references: Sequence[Reference], offsets: dict[bytes, int]
) -> bytes:
    """Make all boxes before the data, which lies at the ``offsets``."""
    numbered = list(enumerate(items, start=1))
    entries = [full_box(b"infe", 2, struct.pack(">HH", number, 0), item.kind, b"\0") for number, item in numbered]
    places = [
        struct.pack(">HHHII", number, 0, 1, offsets[item.content], len(item.content)) for number, item in numbered
    ]
    uses = [struct.pack(">HB", number, len(item.properties)) + bytes(item.properties) for number, item in numbered]
    links = [box(kind, struct.pack(f">HH{len(to)}H", source, len(to), *to)) for kind, source, to in references]
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + full_box(
        b"meta",
        0,
        full_box(b"hdlr", 0, b"\0\0\0\0pict", bytes(13)),
        full_box(b"pitm", 0, struct.pack(">H", 1)),
        full_box(b"iinf", 0, struct.pack(">H", len(items)), *entries),
        full_box(b"iref", 0, *links) if links else b"",
        box(b"iprp", box(b"ipco", *properties), full_box(b"ipma", 0, struct.pack(">I", len(items)), *uses)),
        full_box(b"iloc", 0, struct.pack(">BBH", 0x44, 0, len(items)), *places),
    )
