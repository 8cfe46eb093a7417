"""A PNG of grey pixels and nothing else -> the same pixels that ``image.py`` gives, in less than half of the time.

It is what scripts write when they save a digit, and so most of what a busy service is sent. OpenCV decodes it; all that
could make it fail, or write to the log, is checked before: whatever is not plain is left to ``image.py``.
"""

import zlib

import cv2
import numpy as np

from app.image import Picture

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY = b"\x08\x00\x00\x00\x00"  # 8 bits, grey, deflate, the five filters, not interlaced
END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
AFTER_HEADER = 33  # bytes: the signature, and the chunk IHDR


def read(data: bytes, max_pixels: int) -> Picture | None:
    """Decode a plain PNG of up to ``max_pixels``; None where it is anything else."""
    if not data.startswith(SIGNATURE + b"\x00\x00\x00\rIHDR") or data[24:29] != GREY or not data.endswith(END):
        return None
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if not 0 < width * height <= max_pixels or zlib.crc32(data[12:29]) != int.from_bytes(data[29:33]):
        return None
    # One IDAT that reaches from the header to the end: small pictures have no more.
    length = int.from_bytes(data[33:37])
    if len(data) != AFTER_HEADER + 12 + length + len(END) or data[37:41] != b"IDAT":
        return None
    stream = data[41 : 41 + length]
    if zlib.crc32(stream, zlib.crc32(b"IDAT")) != int.from_bytes(data[41 + length : 45 + length]):
        return None
    unpacked = zlib.decompressobj()
    try:
        rows = unpacked.decompress(stream, height * (width + 1) + 1)
    except zlib.error:
        return None
    if len(rows) != height * (width + 1) or not unpacked.eof or unpacked.unused_data or max(rows[:: width + 1]) > 4:
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    return Picture("PNG", width, height, np.asarray(pixels))
