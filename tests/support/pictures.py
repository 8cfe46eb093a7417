"""Image files made of pixels, in every format and mode that we take."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.uint8]


def encode(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(grey: Grey) -> bytes:
    return encode(Image.fromarray(grey))


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG, with its length and its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_chunks(grey: Grey, chunks: bytes) -> bytes:
    """A PNG with chunks between its header and its pixels."""
    whole = png(grey)
    return whole[:33] + chunks + whole[33:]


def with_segments(grey: Grey, segment: bytes, times: int = 1) -> bytes:
    """A JPEG with segments right after its beginning."""
    whole = encode(Image.fromarray(grey), "JPEG", quality=95)
    return whole[:2] + segment * times + whole[2:]


def with_scans(grey: Grey, scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    whole = encode(Image.fromarray(grey), "JPEG", progressive=True)
    return whole[:-2] + whole[whole.rindex(b"\xff\xda") : -2] * scans + whole[-2:]


def transparent(grey: Grey, ink: int) -> Image.Image:
    """The digit as ink of one colour on nothing."""
    pixels = np.full((*grey.shape, 4), ink, np.uint8)
    pixels[..., 3] = grey
    return Image.fromarray(pixels, "RGBA")


def palette_with_transparency(grey: Grey) -> bytes:
    """A palette of greys whose entry 0 is white and transparent; what is under it is not ink."""
    image = Image.fromarray(grey, "P")
    image.putpalette([255, 255, 255, *[level for value in range(1, 256) for level in (value, value, value)]])
    return encode(image, transparency=0)


# Each turns a digit, light on black, into a file that shows the same digit.
FILES: dict[str, Callable[[Grey], bytes]] = {
    "PNG L": png,
    "PNG RGB": lambda grey: encode(Image.fromarray(grey).convert("RGB")),
    "PNG RGBA": lambda grey: encode(Image.fromarray(grey).convert("RGBA")),
    "PNG LA": lambda grey: encode(Image.fromarray(grey).convert("LA")),
    "PNG P": lambda grey: encode(Image.fromarray(grey).convert("P")),
    "PNG P, transparent": palette_with_transparency,
    "PNG 1": lambda grey: encode(Image.fromarray(grey).point(lambda value: 255 * (value > 127)).convert("1")),
    "PNG 16-bit": lambda grey: encode(Image.fromarray(grey.astype(np.uint16) * 257)),
    "PNG black ink on nothing": lambda grey: encode(transparent(grey, 0)),
    "PNG white ink on nothing": lambda grey: encode(transparent(grey, 255)),
    "PNG black on white": lambda grey: png(255 - grey),
    "JPEG L": lambda grey: encode(Image.fromarray(grey), "JPEG", quality=95),
    "JPEG YCbCr": lambda grey: encode(Image.fromarray(grey).convert("RGB"), "JPEG", quality=95),
    "JPEG CMYK": lambda grey: encode(Image.fromarray(grey).convert("RGB").convert("CMYK"), "JPEG", quality=95),
    "WebP": lambda grey: encode(Image.fromarray(grey).convert("RGB"), "WEBP", lossless=True),
    "BMP": lambda grey: encode(Image.fromarray(grey), "BMP"),
    "GIF": lambda grey: encode(Image.fromarray(grey), "GIF"),
}
# Those whose pixels are the digit's own, level for level.
EXACT = ("PNG L", "PNG RGB", "PNG RGBA", "PNG LA", "PNG 16-bit", "WebP", "BMP", "GIF")
