"""A PNG of grey pixels and nothing else -> the same pixels that ``image.py`` gives, in a third of the time.

It is what scripts write when they save a digit, and so most of what a busy service is sent. The decoder is Pillow's
own, without the classes around it, which take longer than it does; whatever is not plain is left to ``image.py``.
"""

import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from app.image import Picture

core: Any = Image.core  # type: ignore[attr-defined]  # Pillow's C part: what Image.frombytes and Image.tobytes are made of
SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY = b"\x08\x00\x00\x00\x00"  # 8 bits, grey, deflate, the five filters, not interlaced
END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
AFTER_HEADER = 33  # bytes: the signature, and the chunk IHDR


def read(data: bytes, max_pixels: int) -> Picture | None:
    """Decode a plain PNG of up to ``max_pixels``; None where it is anything else."""
    width, height = size_of(data[:AFTER_HEADER])
    length = int.from_bytes(data[AFTER_HEADER : AFTER_HEADER + 4])
    end = AFTER_HEADER + 8 + length  # of the one IDAT, for small pictures have no more
    if not 0 < width * height <= max_pixels or data[AFTER_HEADER + 4 : AFTER_HEADER + 8] != b"IDAT":
        return None
    if data[end + 4 :] != END or zlib.crc32(data[AFTER_HEADER + 4 : end]) != int.from_bytes(data[end : end + 4]):
        return None
    image, whole = core.new("L", (width, height)), (0, 0, width, height)
    decoder, encoder = core.zip_decoder("L", "L", 0), core.raw_encoder("L", "L", 0, 1)
    decoder.setimage(image, whole)
    missing, fault = decoder.decode(data[AFTER_HEADER + 8 : end])
    if missing >= 0 or fault:
        return None
    encoder.setimage(image, whole)
    _, _, pixels = encoder.encode(width * height)
    return Picture("PNG", width, height, np.frombuffer(pixels, np.uint8).reshape(height, width))


@lru_cache(maxsize=64)  # nearly all that come are of one size
def size_of(header: bytes) -> tuple[int, int]:
    """Width and height by the signature and the chunk IHDR; 0, 0 where it is no plain PNG's."""
    if not header.startswith(SIGNATURE + b"\x00\x00\x00\rIHDR") or header[24:29] != GREY:
        return 0, 0
    if zlib.crc32(header[12:29]) != int.from_bytes(header[29:]):
        return 0, 0
    return int.from_bytes(header[16:20]), int.from_bytes(header[20:24])
