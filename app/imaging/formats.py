"""The image formats that the service reads, and how it tells them apart."""

import sys
from importlib.util import find_spec
from typing import Literal, get_args

from app.errors import UnsupportedMediaError

Format = Literal["PNG", "JPEG", "WEBP", "BMP", "GIF", "HEIC", "TIFF"]
FORMATS: tuple[Format, ...] = get_args(Format)

# Only for installs with the extra: most services need neither, and their decoders are large targets for hostile files.
EXTRA_FORMATS: tuple[Format, ...] = ("HEIC", "TIFF")

SIGNATURE_BYTES = 12  # how many bytes of a file tell its format
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")


def is_extra_installed() -> bool:
    """Return whether the extra ``heic`` is installed."""
    return sys.modules.get("pillow_heif") is not None or find_spec("pillow_heif") is not None


def accepted_formats() -> tuple[Format, ...]:
    """Return the formats that this install reads."""
    return FORMATS if is_extra_installed() else tuple(name for name in FORMATS if name not in EXTRA_FORMATS)


def detect_format(data: bytes) -> Format:
    """Tell an image's format from its first bytes. The client's file name and content type do not count.

    Raises:
        UnsupportedMediaError: It has none of our formats, or one that this install does not read.
    """
    image_format = match_signature(data)
    if image_format is None:
        raise UnsupportedMediaError(f"The file is not an image of an accepted type: {', '.join(accepted_formats())}.")
    if image_format in EXTRA_FORMATS and not is_extra_installed():
        raise UnsupportedMediaError(
            f"This service reads {', '.join(accepted_formats())}. For {image_format} files, it needs the extra heic.",
            extra="heic",
        )
    return image_format


def match_signature(data: bytes) -> Format | None:
    """Return the format that has these first bytes, or None if there is none."""
    if data.startswith(PNG_SIGNATURE):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith(b"BM"):
        return "BMP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS:
        return "HEIC"
    if data.startswith((b"II*\0", b"MM\0*")):
        return "TIFF"
    return None
