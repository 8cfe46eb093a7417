"""Inputs that no client means to send: real files and bodies, and what is left of them after a few bytes have changed.

An input is made of a seed and a number alone, so that any of millions can be made again.
"""

import base64
import io
import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

CHANGES_EACH = (1, 1, 1, 2, 3, 6)  # changes to one input; with many, few get far
LARGEST = 200_000  # bytes of an input; more is cut off

# What the formats and the bodies are made of, to be put where it does not belong.
WORDS: list[bytes] = [
    *(b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"gAMA", b"iCCP", b"sBIT", b"zTXt", b"iTXt", b"tEXt", b"eXIf"),
    *(b"acTL", b"fcTL", b"fdAT", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xc2"),
    *(b"\xff\xc4", b"\xff\xdb", b"\xff\xdd", b"\xff\xe0", b"\xff\xe1", b"\xff\xe2", b"\xff\xee", b"Exif\0\0", b"MPF\0"),
    *(b"JFIF\0", b"Adobe\0", b"MM\0*", b"II*\0", b"GIF87a", b"GIF89a", b"\x21\xf9\x04", b"\x21\xfe", b"\x21\xff\x0b"),
    *(b"NETSCAPE2.0", b"\x2c", b"\x3b", b"BM", b"RIFF", b"WEBP", b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"),
    *(b"EXIF", b"XMP ", b"--xyz", b"--xyz--", b"\r\n", b"\r\n\r\n", b'filename="a"', b"filename*=", b"form-data;"),
    *(b"Content-Disposition: ", b'{"image":', b'"', b"\\u0000", b"[", b"}", b"data:image/png;base64,", b"\0" * 8),
]
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1)


class Input(NamedTuple):
    """The body of a request."""

    content_type: bytes
    body: bytes


def file(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def files() -> list[bytes]:
    """Small pictures in every format, mode and structure that we take."""
    ramp = np.arange(28 * 20, dtype=np.uint16).reshape(28, 20)
    grey = Image.fromarray(ramp.astype(np.uint8))
    grey.paste(255, (8, 4, 11, 24))  # a one
    exif = Image.Exif()
    exif[0x0112] = 6
    frames: dict[str, Any] = {"save_all": True, "append_images": [grey.rotate(90, expand=False)]}
    colour = grey.convert("RGB")
    made = [file(grey.convert(mode), "PNG") for mode in ("L", "RGB", "RGBA", "LA", "P", "1")]
    made += [file(Image.fromarray(ramp * 100), "PNG"), file(grey, "PNG", exif=exif), file(grey, "PNG", **frames)]
    made += [file(grey.convert("P"), "PNG", transparency=7, bits=8), file(colour, "PNG", transparency=(9, 9, 9))]
    made += [file(grey.convert("P", palette=Image.Palette.ADAPTIVE, colors=4), "PNG", bits=2)]
    made += [file(image, "JPEG") for image in (grey, colour, colour.convert("CMYK"))]
    made += [
        file(colour, "JPEG", progressive=True, exif=exif, comment="a"),
        file(colour, "JPEG", restart_marker_rows=1),
    ]
    made += [file(colour, "MPO", **frames), file(colour.resize((300, 200)), "JPEG", subsampling=2)]
    made += [file(colour, "WEBP", lossless=True), file(colour, "WEBP"), file(colour.convert("RGBA"), "WEBP", exif=exif)]
    made += [file(colour, "WEBP", **frames), file(grey, "BMP"), file(colour, "BMP"), file(grey.convert("1"), "BMP")]
    made += [file(colour.convert("RGBA"), "BMP"), run_length(4), run_length(8)]
    made += [file(grey, "GIF"), file(grey, "GIF", **frames), file(grey.convert("P"), "GIF", transparency=3)]
    made += [file(grey, "GIF", interlace=True, comment=b"a")]
    return made


def run_length(bits: int) -> bytes:
    """A run-length encoded BMP, which Pillow reads and does not write."""
    rows = b"\x08\x11\0\0" * 4 + b"\0\2\0\1" + b"\x08\x11\0\1"  # runs, a row left out, a run, the end
    compression = 2 if bits == 4 else 1
    head = struct.pack("<IiiHHIIiiII", 40, 8, 6, 1, bits, compression, len(rows), 0, 0, 1 << bits, 0)
    palette = bytes(4 << bits)
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + palette + rows


def bodies(pictures: Sequence[bytes]) -> list[Input]:
    """Pictures as the three forms of a request have them."""
    head = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    note = b'--xyz\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    form, text = b"multipart/form-data; boundary=xyz", b"application/json"
    made = [Input(b"image/png", picture) for picture in pictures]
    for picture in pictures[::8]:
        encoded = base64.b64encode(picture)
        made.append(Input(form, head + picture + b"\r\n--xyz--\r\n"))
        made.append(Input(form, note + head + picture + b"\r\n" + note + b"--xyz--\r\nepilogue"))
        made.append(Input(text, b'{"image": "%b"}' % encoded))
        made.append(Input(text, b'{"image": "data:image/png;base64,%b"}' % encoded))
    return made


CORPUS = bodies(files())


def make(seed: int, number: int) -> Input:
    """The input of this number."""
    random = Random(f"{seed}:{number}")
    content_type, body = random.choice(CORPUS)
    data = bytearray(body)
    for _ in range(random.choice(CHANGES_EACH)):
        random.choice(CHANGES)(random, data)
    if data.startswith(b"\x89PNG") and random.random() < 0.7:
        put_checksums_right(data)
    if random.random() < 0.02:
        changed = bytearray(content_type)
        random.choice(CHANGES)(random, changed)
        content_type = bytes(changed)
    return Input(content_type, bytes(data[:LARGEST]))


def place(random: Random, data: bytearray) -> int:
    """Anywhere, and near the beginning more often than not: that is where the headers are."""
    return random.randrange(min(len(data), random.choice((32, 200, len(data) or 1))) or 1)


def flip(random: Random, data: bytearray) -> None:
    for _ in range(random.randint(1, 8)):
        if data:
            data[place(random, data)] ^= 1 << random.randrange(8)


def set_byte(random: Random, data: bytearray) -> None:
    if data:
        data[place(random, data)] = random.randrange(256)


def set_number(random: Random, data: bytearray) -> None:
    """Put a number that is at an edge where a length, a size or an offset may be."""
    at, size = place(random, data), random.choice((1, 2, 4))
    number = (random.choice(NUMBERS) + random.choice((-1, 0, 0, 1))) % (1 << 8 * size)
    data[at : at + size] = number.to_bytes(size, random.choice(("big", "little")))


def put_word(random: Random, data: bytearray) -> None:
    at, word = place(random, data), random.choice(WORDS)
    data[at : at + random.choice((0, len(word)))] = word


def cut(random: Random, data: bytearray) -> None:
    del data[random.randrange(len(data) + 1) :]


def take_out(random: Random, data: bytearray) -> None:
    at = place(random, data)
    del data[at : at + random.randint(1, 64)]


def repeat(random: Random, data: bytearray) -> None:
    at = place(random, data)
    piece = data[at : at + random.randint(1, 200)]
    data[at:at] = piece * random.choice((1, 2, 10, 100))


def splice(random: Random, data: bytearray) -> None:
    """Go on with the rest of another input."""
    other = random.choice(CORPUS).body
    data[random.randrange(len(data) + 1) :] = other[random.randrange(len(other) + 1) :]


def change_stream(random: Random, data: bytearray) -> None:
    """Change what is inside a PNG's compressed pixels, and compress it again."""
    at = data.find(b"IDAT")
    if at < 4 or not data.startswith(b"\x89PNG"):
        return
    length = int.from_bytes(data[at - 4 : at])
    try:
        rows = bytearray(zlib.decompress(data[at + 4 : at + 4 + length]))
    except zlib.error:
        return
    random.choice((flip, set_byte, take_out, repeat, cut))(random, rows)
    stream = zlib.compress(bytes(rows))
    data[at - 4 : at + 4 + length] = len(stream).to_bytes(4) + b"IDAT" + stream


CHANGES: list[Callable[[Random, bytearray], None]] = [
    flip, set_byte, set_number, set_number, put_word, put_word, cut, take_out, repeat, splice, change_stream,
]  # fmt: skip


def put_checksums_right(data: bytearray) -> None:
    """Give each chunk of a PNG its right checksum, for what has a wrong one is not looked into."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4)
        at = end + 4
