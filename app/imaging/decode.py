"""Decodes an image file into grey pixels, upright.

Only the decoders of the formats in ``app.imaging.formats`` can run, although Pillow knows more. Type and size are
checked before any pixel is decoded.
"""

import io
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import (
    NOT_ENOUGH_MEMORY,
    BrokenImageError,
    DigitserveError,
    ImageSizeError,
    OverloadedError,
    RequestError,
)
from app.imaging.deep_png import rescale_few_bits
from app.imaging.digit_image import Grey
from app.imaging.formats import EXTRA_FORMATS, PNG_SIGNATURE, Format, detect_format
from app.imaging.grey import to_grey
from app.imaging.heic import check_heic
from app.imaging.jpeg import count_scans
from app.imaging.memory import is_out_of_memory
from app.imaging.rectangle import Rectangle
from app.imaging.tiff import check_tiff, silence_libtiff

# A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, as long as its shorter side keeps this many pixels. That saves
# most of the time and memory that a photograph costs.
MIN_JPEG_SIDE_PX = 1_000

ORIENTATION_TAG = 0x0112  # of EXIF
PHOTOMETRIC_TAG = 262  # of TIFF: what a level means
WHITE_IS_ZERO = 0
TO_UPRIGHT: dict[int, Callable[[Grey], Grey]] = {  # EXIF orientation -> the operation that turns the pixels upright
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda pixels: np.rot90(pixels, 3),
    7: lambda pixels: np.transpose(np.rot90(pixels, 2)),
    8: np.rot90,
}
SIDEWAYS_ORIENTATIONS = (5, 6, 7, 8)
EXIF_KEYS = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})  # where Pillow looks for EXIF

# Limits that no real picture reaches. Beyond them, a few megabytes would keep a decoder busy for minutes.
MAX_FILE_READS = 50_000  # Pillow reads a few bytes for each chunk, segment or block
MAX_JPEG_SCANS = 64  # a scan covers the whole picture and may take 40 bytes; progressive JPEGs have about ten
MAX_PNG_PROFILES = 8  # each is inflated, up to a megabyte, although only the last one counts
MAX_RUN_LENGTH_PIXELS = 1_000_000  # of a run-length encoded BMP, which Pillow decodes in Python


class Picture(NamedTuple):
    """A decoded image: grey, upright."""

    format: Format
    width: int  # pixels, upright
    height: int
    pixels: NDArray[np.uint8]  # (height, width), or smaller if a large JPEG was decoded at part of its size; 0 is black

    def to_full_size(self, box: Rectangle) -> Rectangle:
        """Convert a box in ``pixels`` into a box in the whole picture."""
        return box.scale(self.width / self.pixels.shape[1]).clip(self.width, self.height)


class BoundedFile(io.BytesIO):
    """A file in memory that allows only so many reads."""

    reads_left = MAX_FILE_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise ValueError("the file has too many pieces")
        return super().read(size)


class OpenedImage(NamedTuple):
    """An image whose header has been read."""

    format: Format
    image: Image.Image
    pixel_count: int  # that must be decoded; more than the image has if it is cropped
    data: bytes  # the file

    def decode(self) -> Picture:
        """Decode the image: the first frame of an animation, or the first page of a document.

        Raises:
            BrokenImageError: It cannot be decoded.
            OverloadedError: There is not enough memory for it now.
        """
        size = self.image.size
        try:
            with self.image as image:
                if self.format == "JPEG" and image.mode in ("L", "RGB"):
                    image.draft("L", (MIN_JPEG_SIDE_PX, MIN_JPEG_SIDE_PX))
                image.load()
                pixels = to_grey(rescale_few_bits(self.data, image) if self.format == "PNG" else image)
                if self.format in EXTRA_FORMATS:  # their decoders turn the picture
                    size, orientation = image.size, 1
                else:
                    orientation = read_orientation(image)
                if is_inverted(image):
                    pixels = 255 - pixels
        except Exception as error:
            raise explain_failure(self.format, error, self.pixel_count) from error
        width, height = size[::-1] if orientation in SIDEWAYS_ORIENTATIONS else size
        return Picture(self.format, width, height, turn_upright(pixels, orientation))


def open_image(data: bytes, max_pixels: int) -> OpenedImage:
    """Read an image's header, without decoding any pixel.

    Raises:
        UnsupportedMediaError: It has none of our formats.
        ImageSizeError: It has more than ``max_pixels``.
        BrokenImageError: It starts like one of our formats, but its header cannot be read.
        OverloadedError: There is not enough memory for it now.
    """
    image_format = detect_format(data)
    try:
        hidden_pixels = check_header(data, image_format, max_pixels)
        image = Image.open(BoundedFile(data), formats=(prepare_decoder(image_format),))
    except RequestError:
        raise
    except Exception as error:
        # The decoder of WebP allocates memory for the picture when it opens it.
        pixels = max_pixels if image_format == "WEBP" else 0
        raise explain_failure(image_format, error, pixels) from error
    is_run_length = image_format == "BMP" and image.tile[0].codec_name == "bmp_rle"
    allowed = min(max_pixels, MAX_RUN_LENGTH_PIXELS) if is_run_length else max_pixels
    if image.width * image.height > allowed:
        image.close()
        raise ImageSizeError(f"The image has {image.width} x {image.height} pixels. The limit is {allowed:,}.")
    return OpenedImage(image_format, image, max(image.width * image.height, hidden_pixels), data)


def check_header(data: bytes, image_format: Format, max_pixels: int) -> int:
    """Check what a decoder would not: parts that may be repeated without end.

    Returns the pixels that must be decoded, or 0 if they are those of the image.

    Raises:
        BrokenImageError: Parts are repeated far too often.
        ImageSizeError: The parts of the image have more than ``max_pixels``.
        Exception: The header cannot be read.
    """
    if image_format == "HEIC":
        return check_heic(data, max_pixels)
    if image_format == "TIFF":
        check_tiff(data)
    if (image_format == "JPEG" and count_scans(data, MAX_JPEG_SCANS + 1) > MAX_JPEG_SCANS) or (
        image_format == "PNG" and data.count(b"iCCP") > MAX_PNG_PROFILES
    ):
        raise BrokenImageError(
            f"The image starts like a {image_format} file, but repeats parts that a picture has once or a few times."
        )
    return 0


def prepare_decoder(image_format: Format) -> str:
    """Make sure that Pillow has the decoder of a format, and return Pillow's name of the format."""
    if image_format == "TIFF":
        silence_libtiff()
    if image_format != "HEIC":
        return image_format
    import pillow_heif  # of the extra; it loads 27 MB of libraries, so only when a file needs it

    # Only the picture itself is read. Each request has one thread.
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    return "HEIF"


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode an image file. Raises what ``open_image`` and ``OpenedImage.decode`` raise."""
    return open_image(data, max_pixels).decode()


def explain_failure(image_format: Format, error: Exception, pixels: int) -> DigitserveError:
    """Return our error for an exception of Pillow, which was about to decode so many pixels.

    Hostile files make Pillow raise almost any exception, and almost all of them mean the same.
    """
    if is_out_of_memory(error, pixels):
        return OverloadedError(NOT_ENOUGH_MEMORY)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):  # Pillow's own limit
        return ImageSizeError("The image has far too many pixels.")
    return BrokenImageError(
        f"The image starts like a {image_format} file, but cannot be decoded. It is damaged or cut short."
    )


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, or 1 (upright) if it has none."""
    if EXIF_KEYS.isdisjoint(image.info):
        return 1
    try:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # a damaged EXIF block is no reason to refuse a picture that can be decoded
        return 1
    return orientation if orientation in TO_UPRIGHT else 1


def turn_upright(pixels: Grey, orientation: int) -> Grey:
    return np.ascontiguousarray(TO_UPRIGHT[orientation](pixels)) if orientation in TO_UPRIGHT else pixels


def is_inverted(image: Image.Image) -> bool:
    """Return whether 0 is white although Pillow takes it for black, as it does in a TIFF with 16 bits."""
    tags = getattr(image, "tag_v2", {})  # only a TIFF has any
    return image.mode.startswith("I") and tags.get(PHOTOMETRIC_TAG) == WHITE_IS_ZERO


# A fast decoder for plain PNG files: 8-bit grey, not interlaced, with no chunks but IHDR, one IDAT and IEND. Scripts
# save digits like this, so a busy service receives mostly such files. It gives the same pixels as ``decode`` in a tenth
# of the time, because OpenCV has no Python classes around its decoder. OpenCV prints a line about each damaged file, so
# it gets only files without any damage.
PLAIN_FIELDS = b"\x08\x00\x00\x00\x00"  # of IHDR: 8 bits, grey, deflate, the five filters, not interlaced
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
LAST_FILTER = 4
PNG_HEAD_BYTES = 33  # the signature and the chunk IHDR


def decode_plain_png(data: bytes, max_pixels: int) -> Picture | None:
    """Decode a plain PNG file of up to ``max_pixels``. Returns None for any other file."""
    width, height = read_plain_png_size(data[:PNG_HEAD_BYTES])
    length = int.from_bytes(data[PNG_HEAD_BYTES : PNG_HEAD_BYTES + 4])
    end = PNG_HEAD_BYTES + 8 + length  # of the only IDAT: small pictures have one
    if not 0 < width * height <= max_pixels or data[PNG_HEAD_BYTES + 4 : PNG_HEAD_BYTES + 8] != b"IDAT":
        return None
    if data[end + 4 :] != PNG_END or zlib.crc32(data[PNG_HEAD_BYTES + 4 : end]) != int.from_bytes(data[end : end + 4]):
        return None
    inflater, size = zlib.decompressobj(), height * (width + 1)  # each row begins with the number of its filter
    try:
        rows = inflater.decompress(data[PNG_HEAD_BYTES + 8 : end], size + 1)
    except zlib.error:
        return None
    window_bytes = 256 << (data[PNG_HEAD_BYTES + 8] >> 4)  # how far back the stream may refer, as it claims
    if len(rows) != size or max(rows[:: width + 1]) > LAST_FILTER or window_bytes < size:
        return None
    if not inflater.eof or inflater.unused_data:
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return None if pixels is None else Picture("PNG", width, height, pixels)


@lru_cache(maxsize=64)  # almost all pictures have the same size, so the same header
def read_plain_png_size(head: bytes) -> tuple[int, int]:
    """Return width and height from the signature and the chunk IHDR, or 0, 0 if the file is not a plain PNG."""
    if not head.startswith(PNG_SIGNATURE + b"\x00\x00\x00\rIHDR") or head[24:29] != PLAIN_FIELDS:
        return 0, 0
    if zlib.crc32(head[12:29]) != int.from_bytes(head[29:]):
        return 0, 0
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
