"""Make inputs that no client sends on purpose: real files and request bodies, with a few bytes changed.

An input depends only on a seed and a number, so any of millions can be reproduced.
"""

import base64
import io
import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pillow_heif
from PIL import Image

CHANGE_COUNTS = (1, 1, 1, 2, 3, 6)  # changes to one input; an input with many rarely gets far
MAX_BYTES = 200_000  # an input is cut off after this

# Building blocks of the formats and bodies, to be inserted where they do not belong.
WORDS: list[bytes] = [
    *(b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"gAMA", b"iCCP", b"sBIT", b"zTXt", b"iTXt", b"tEXt", b"eXIf"),
    *(b"acTL", b"fcTL", b"fdAT", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xc2"),
    *(b"\xff\xc4", b"\xff\xdb", b"\xff\xdd", b"\xff\xe0", b"\xff\xe1", b"\xff\xe2", b"\xff\xee", b"Exif\0\0", b"MPF\0"),
    *(b"JFIF\0", b"Adobe\0", b"MM\0*", b"II*\0", b"GIF87a", b"GIF89a", b"\x21\xf9\x04", b"\x21\xfe", b"\x21\xff\x0b"),
    *(b"NETSCAPE2.0", b"\x2c", b"\x3b", b"BM", b"RIFF", b"WEBP", b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"),
    *(b"ftyp", b"heic", b"meta", b"iinf", b"infe", b"iref", b"cdsc", b"dimg", b"auxl", b"ispe", b"clap", b"irot"),
    *(b"mdat", b"hvc1", b"grid", b"\0\1\3\0", b"\1\1\4\0", b"\x11\1\4\0", b"\x42\1\4\0", b"\x69\x87\4\0"),
    *(b"EXIF", b"XMP ", b"--xyz", b"--xyz--", b"\r\n", b"\r\n\r\n", b'filename="a"', b"filename*=", b"form-data;"),
    *(b"Content-Disposition: ", b'{"image":', b'"', b"\\u0000", b"[", b"}", b"data:image/png;base64,", b"\0" * 8),
]
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1)


class Input(NamedTuple):
    """A request body and its content type."""

    content_type: bytes
    body: bytes


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    """Encode an image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def make_files() -> list[bytes]:
    """Make small pictures in every format, mode and structure that the service accepts."""
    ramp = np.arange(28 * 20, dtype=np.uint16).reshape(28, 20)
    grey = Image.fromarray(ramp.astype(np.uint8))
    grey.paste(255, (8, 4, 11, 24))  # a one
    exif = Image.Exif()
    exif[0x0112] = 6
    frames: dict[str, Any] = {"save_all": True, "append_images": [grey.rotate(90, expand=False)]}
    colour = grey.convert("RGB")
    files = [encode(grey.convert(mode), "PNG") for mode in ("L", "RGB", "RGBA", "LA", "P", "1")]
    files += [encode(Image.fromarray(ramp * 100), "PNG"), encode(grey, "PNG", exif=exif), encode(grey, "PNG", **frames)]
    files += [encode(grey.convert("P"), "PNG", transparency=7, bits=8), encode(colour, "PNG", transparency=(9, 9, 9))]
    files += [encode(grey.convert("P", palette=Image.Palette.ADAPTIVE, colors=4), "PNG", bits=2)]
    files += [encode(image, "JPEG") for image in (grey, colour, colour.convert("CMYK"))]
    files += [
        encode(colour, "JPEG", progressive=True, exif=exif, comment="a"),
        encode(colour, "JPEG", restart_marker_rows=1),
    ]
    files += [encode(colour, "MPO", **frames), encode(colour.resize((300, 200)), "JPEG", subsampling=2)]
    files += [
        encode(colour, "WEBP", lossless=True),
        encode(colour, "WEBP"),
        encode(colour.convert("RGBA"), "WEBP", exif=exif),
    ]
    files += [
        encode(colour, "WEBP", **frames),
        encode(grey, "BMP"),
        encode(colour, "BMP"),
        encode(grey.convert("1"), "BMP"),
    ]
    files += [encode(colour.convert("RGBA"), "BMP"), run_length_bmp(4), run_length_bmp(8)]
    files += [encode(grey, "GIF"), encode(grey, "GIF", **frames), encode(grey.convert("P"), "GIF", transparency=3)]
    files += [encode(grey, "GIF", interlace=True, comment=b"a")]
    pillow_heif.register_heif_opener()
    files += [encode(image, "HEIF") for image in (grey, colour, colour.convert("RGBA"))]
    files += [encode(colour.resize((150, 100)), "HEIF", tile_size=64, exif=exif.tobytes())]
    files += [encode(grey, "HEIF", **frames)]
    files += [encode(image.copy(), "TIFF") for image in (grey, colour, colour.convert("CMYK"))]
    files += [encode(Image.fromarray(ramp * 100), "TIFF")]
    files += [encode(grey.convert("1"), "TIFF", compression=name) for name in ("group3", "group4", "tiff_ccitt")]
    files += [encode(colour.copy(), "TIFF", compression=name) for name in ("tiff_lzw", "jpeg", "tiff_adobe_deflate")]
    files += [encode(grey.copy(), "TIFF", compression="packbits"), encode(grey.copy(), "TIFF", exif=exif)]
    files += [encode(grey.copy(), "TIFF", save_all=True, append_images=[grey.copy()])]
    return files


def run_length_bmp(bits: int) -> bytes:
    """Make a run-length encoded BMP, which Pillow can read but not write."""
    rows = b"\x08\x11\0\0" * 4 + b"\0\2\0\1" + b"\x08\x11\0\1"  # runs, a skipped row, a run, the end
    compression = 2 if bits == 4 else 1
    head = struct.pack("<IiiHHIIiiII", 40, 8, 6, 1, bits, compression, len(rows), 0, 0, 1 << bits, 0)
    palette = bytes(4 << bits)
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + palette + rows


def make_bodies(pictures: Sequence[bytes]) -> list[Input]:
    """Put pictures into request bodies, in each of the three forms."""
    head = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    note = b'--xyz\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    form, text = b"multipart/form-data; boundary=xyz", b"application/json"
    bodies = [Input(b"image/png", picture) for picture in pictures]
    for picture in pictures[::8]:
        encoded = base64.b64encode(picture)
        bodies.append(Input(form, head + picture + b"\r\n--xyz--\r\n"))
        bodies.append(Input(form, note + head + picture + b"\r\n" + note + b"--xyz--\r\nepilogue"))
        bodies.append(Input(text, b'{"image": "%b"}' % encoded))
        bodies.append(Input(text, b'{"image": "data:image/png;base64,%b"}' % encoded))
    return bodies


CORPUS = make_bodies(make_files())


def make_input(seed: int, number: int) -> Input:
    """Make the input with this number."""
    random = Random(f"{seed}:{number}")
    content_type, body = random.choice(CORPUS)
    data = bytearray(body)
    for _ in range(random.choice(CHANGE_COUNTS)):
        random.choice(CHANGES)(random, data)
    if data.startswith(b"\x89PNG") and random.random() < 0.7:
        fix_checksums(data)
    if random.random() < 0.02:
        changed = bytearray(content_type)
        random.choice(CHANGES)(random, changed)
        content_type = bytes(changed)
    return Input(content_type, bytes(data[:MAX_BYTES]))


def pick_offset(random: Random, data: bytearray) -> int:
    """Pick an offset. Most are near the start, where the headers are."""
    return random.randrange(min(len(data), random.choice((32, 200, len(data) or 1))) or 1)


def flip_bits(random: Random, data: bytearray) -> None:
    for _ in range(random.randint(1, 8)):
        if data:
            data[pick_offset(random, data)] ^= 1 << random.randrange(8)


def set_byte(random: Random, data: bytearray) -> None:
    if data:
        data[pick_offset(random, data)] = random.randrange(256)


def set_number(random: Random, data: bytearray) -> None:
    """Put an extreme number where a length, a size or an offset may be."""
    at, size = pick_offset(random, data), random.choice((1, 2, 4))
    number = (random.choice(NUMBERS) + random.choice((-1, 0, 0, 1))) % (1 << 8 * size)
    data[at : at + size] = number.to_bytes(size, random.choice(("big", "little")))


def insert_word(random: Random, data: bytearray) -> None:
    at, word = pick_offset(random, data), random.choice(WORDS)
    data[at : at + random.choice((0, len(word)))] = word


def truncate(random: Random, data: bytearray) -> None:
    del data[random.randrange(len(data) + 1) :]


def delete_bytes(random: Random, data: bytearray) -> None:
    at = pick_offset(random, data)
    del data[at : at + random.randint(1, 64)]


def repeat_bytes(random: Random, data: bytearray) -> None:
    at = pick_offset(random, data)
    piece = data[at : at + random.randint(1, 200)]
    data[at:at] = piece * random.choice((1, 2, 10, 100))


def splice(random: Random, data: bytearray) -> None:
    """Continue with the rest of another input."""
    other = random.choice(CORPUS).body
    data[random.randrange(len(data) + 1) :] = other[random.randrange(len(other) + 1) :]


def change_stream(random: Random, data: bytearray) -> None:
    """Change the pixels of a PNG and compress them again."""
    at = data.find(b"IDAT")
    if at < 4 or not data.startswith(b"\x89PNG"):
        return
    length = int.from_bytes(data[at - 4 : at])
    try:
        rows = bytearray(zlib.decompress(data[at + 4 : at + 4 + length]))
    except zlib.error:
        return
    random.choice((flip_bits, set_byte, delete_bytes, repeat_bytes, truncate))(random, rows)
    stream = zlib.compress(bytes(rows))
    data[at - 4 : at + 4 + length] = len(stream).to_bytes(4) + b"IDAT" + stream


CHANGES: list[Callable[[Random, bytearray], None]] = [
    *(flip_bits, set_byte, set_number, set_number, insert_word, insert_word),
    *(truncate, delete_bytes, repeat_bytes, splice, change_stream),
]


def fix_checksums(data: bytearray) -> None:
    """Give each chunk of a PNG its correct checksum, because decoders ignore chunks with a wrong one."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4)
        at = end + 4
