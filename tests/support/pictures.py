"""Image files made from pixels, in every format and mode that the service accepts."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.uint8]

EXTRA = "the extra heic is not installed: pip install -e '.[heic]'"


def encode(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def heic(image: Image.Image, **options: Any) -> bytes:
    """Return a HEIC file, by default without any loss. Skips the test if nothing can write it."""
    pytest.importorskip("pillow_heif", reason=EXTRA).register_heif_opener()
    return encode(image, "HEIF", **{"quality": -1, "chroma": 444} | options)


def tiff(image: Image.Image, **options: Any) -> bytes:
    """Return a TIFF file. Skips the test if the service cannot read it."""
    pytest.importorskip("pillow_heif", reason=EXTRA)
    return encode(image, "TIFF", **options)


def png(grey: Grey) -> bytes:
    return encode(Image.fromarray(grey))


def chunk(name: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG, with its length and checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_chunks(grey: Grey, chunks: bytes) -> bytes:
    """Return a PNG with more chunks between its header and its pixels."""
    file = png(grey)
    return file[:33] + chunks + file[33:]


def with_segments(grey: Grey, segment: bytes, times: int = 1) -> bytes:
    """Return a JPEG with more segments after its first two bytes."""
    file = encode(Image.fromarray(grey), "JPEG", quality=95)
    return file[:2] + segment * times + file[2:]


def with_scans(grey: Grey, scans: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated."""
    file = encode(Image.fromarray(grey), "JPEG", progressive=True)
    return file[:-2] + file[file.rindex(b"\xff\xda") : -2] * scans + file[-2:]


def motion_photo(grey: Grey) -> bytes:
    """Return a JPEG followed by six megabytes, as phones append a video. They have the bytes of many markers."""
    return encode(Image.fromarray(grey), "JPEG", quality=95) + np.random.default_rng(1).bytes(6_000_000)


def make_page(rows: list[list[Grey]], size: int = 60, gap: int = 20) -> Grey:
    """Draw rows of digits on light paper, each digit in a square of ``size`` pixels, ``gap`` pixels apart."""
    height, width = len(rows) * (size + 40) + 40, max(len(row) for row in rows) * (size + gap) + 80
    paper = np.full((height, width), 225, np.uint8)
    for line, row in enumerate(rows):
        for place, digit in enumerate(row):
            ink = np.asarray(Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC))
            top, left = 40 + line * (size + 40), 40 + place * (size + gap)
            paper[top : top + size, left : left + size] = 225 - (ink * 0.8).astype(np.uint8)
    return paper


def transparent(grey: Grey, ink: int) -> Image.Image:
    """Return a digit as ink of one grey level on transparent paper."""
    pixels = np.full((*grey.shape, 4), ink, np.uint8)
    pixels[..., 3] = grey
    return Image.fromarray(pixels, "RGBA")


def palette_with_transparency(grey: Grey) -> bytes:
    """Return a PNG whose palette entry 0 is white and transparent, so that the paper is not ink."""
    image = Image.fromarray(grey, "P")
    image.putpalette([255, 255, 255, *[level for value in range(1, 256) for level in (value, value, value)]])
    return encode(image, transparency=0)


# Each makes a file from a digit that is light on black. The file shows the same digit.
FILES: dict[str, Callable[[Grey], bytes]] = {
    "PNG L": png,
    "PNG RGB": lambda grey: encode(Image.fromarray(grey).convert("RGB")),
    "PNG RGBA": lambda grey: encode(Image.fromarray(grey).convert("RGBA")),
    "PNG LA": lambda grey: encode(Image.fromarray(grey).convert("LA")),
    "PNG P": lambda grey: encode(Image.fromarray(grey).convert("P")),
    "PNG P, transparent": palette_with_transparency,
    "PNG 1": lambda grey: encode(Image.fromarray(grey).point(lambda value: 255 * (value > 127)).convert("1")),
    "PNG 16-bit": lambda grey: encode(Image.fromarray(grey.astype(np.uint16) * 257)),
    "PNG 8 bits in 16": lambda grey: encode(Image.fromarray(grey.astype(np.uint16))),
    "PNG 12 bits in 16": lambda grey: encode(Image.fromarray((grey * (4095 / 255)).round().astype(np.uint16))),
    "PNG black ink on nothing": lambda grey: encode(transparent(grey, 0)),
    "PNG white ink on nothing": lambda grey: encode(transparent(grey, 255)),
    "PNG black on white": lambda grey: png(255 - grey),
    "JPEG L": lambda grey: encode(Image.fromarray(grey), "JPEG", quality=95),
    "JPEG YCbCr": lambda grey: encode(Image.fromarray(grey).convert("RGB"), "JPEG", quality=95),
    "JPEG CMYK": lambda grey: encode(Image.fromarray(grey).convert("RGB").convert("CMYK"), "JPEG", quality=95),
    "WebP": lambda grey: encode(Image.fromarray(grey).convert("RGB"), "WEBP", lossless=True),
    "BMP": lambda grey: encode(Image.fromarray(grey), "BMP"),
    "GIF": lambda grey: encode(Image.fromarray(grey), "GIF"),
    "HEIC": lambda grey: heic(Image.fromarray(grey)),
    "HEIC RGB": lambda grey: heic(Image.fromarray(grey).convert("RGB")),
    "HEIC black ink on nothing": lambda grey: heic(transparent(grey, 0)),
    "TIFF": lambda grey: tiff(Image.fromarray(grey)),
    "TIFF RGB LZW": lambda grey: tiff(Image.fromarray(grey).convert("RGB"), compression="tiff_lzw"),
    "TIFF P": lambda grey: tiff(Image.fromarray(grey).convert("P"), compression="tiff_adobe_deflate"),
    "TIFF 16-bit": lambda grey: tiff(Image.fromarray(grey.astype(np.uint16) * 257)),
    "TIFF 12 bits in 16": lambda grey: tiff(Image.fromarray((grey * (4095 / 255)).round().astype(np.uint16))),
    "TIFF CMYK": lambda grey: tiff(Image.fromarray(grey).convert("RGB").convert("CMYK"), compression="packbits"),
    "TIFF JPEG": lambda grey: tiff(Image.fromarray(grey), compression="jpeg", quality=95),
    "TIFF 1-bit fax": lambda grey: tiff(
        Image.fromarray(grey).point(lambda value: 255 * (value > 127)).convert("1"), compression="group4"
    ),
}
# Those that decode to exactly the same pixels.
EXACT = (
    *("PNG L", "PNG RGB", "PNG RGBA", "PNG LA", "PNG 16-bit", "PNG 8 bits in 16", "PNG 12 bits in 16"),
    *("WebP", "BMP", "GIF", "HEIC"),
    *("TIFF", "TIFF RGB LZW", "TIFF P", "TIFF 16-bit", "TIFF 12 bits in 16", "TIFF CMYK"),
)


def make_combs() -> Grey:
    """Draw a page ``(1200, 1200)`` of combs, which has far more candidates than a page of numbers."""
    page = np.full((1200, 1200), 220, np.uint8)
    for top in range(20, 1140, 80):
        for left in range(10, 1090, 120):
            page[top + 28 : top + 32, left : left + 100] = 40
            for tooth in range(left, left + 100, 12):
                page[top : top + 60, tooth : tooth + 4] = 40
    return page
