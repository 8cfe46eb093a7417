"""Decodes an image file into grey pixels, upright.

Only the five decoders named here can run, although Pillow knows more. Type and size are checked before any pixel is
decoded.
"""

import io
import zlib
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import BrokenImageError, ImageSizeError, RequestError, UnsupportedMediaError
from app.imaging.rectangle import Rectangle

Format = Literal["PNG", "JPEG", "WEBP", "BMP", "GIF"]
FORMATS: tuple[Format, ...] = get_args(Format)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, as long as its shorter side keeps this many pixels. That saves
# most of the time and memory that a photograph costs.
MIN_JPEG_SIDE_PX = 1_000

ORIENTATION_TAG = 0x0112  # of EXIF
TO_UPRIGHT = {  # EXIF orientation -> the operation that turns the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS_ORIENTATIONS = (5, 6, 7, 8)
EXIF_KEYS = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})  # where Pillow looks for EXIF

# Limits that no real picture reaches. Beyond them, a few megabytes would keep a decoder busy for minutes.
MAX_FILE_READS = 50_000  # Pillow reads a few bytes for each chunk, segment or block
MAX_JPEG_SCANS = 64  # a scan covers the whole picture and may take 40 bytes; progressive JPEGs have about ten
MAX_PNG_PROFILES = 8  # each is inflated, up to a megabyte, although only the last one counts
MAX_RUN_LENGTH_PIXELS = 1_000_000  # of a run-length encoded BMP, which Pillow decodes in Python

STRIP_PIXELS = 65_536  # converted at once where each pixel takes several bytes meanwhile


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

    @property
    def pixel_count(self) -> int:
        return self.image.width * self.image.height

    def decode(self) -> Picture:
        """Decode the image, or the first frame of an animation.

        Raises:
            BrokenImageError: It cannot be decoded.
        """
        size = self.image.size
        try:
            with self.image as image:
                if self.format == "JPEG" and image.mode in ("L", "RGB"):
                    image.draft("L", (MIN_JPEG_SIDE_PX, MIN_JPEG_SIDE_PX))
                image.load()
                orientation = read_orientation(image)
                width, height = size[::-1] if orientation in SIDEWAYS_ORIENTATIONS else size
                return Picture(self.format, width, height, to_grey(turn_upright(image, orientation)))
        except Exception as error:
            raise explain_failure(self.format, error) from error


def detect_format(data: bytes) -> Format:
    """Tell an image's format from its first bytes. The client's file name and content type do not count.

    Raises:
        UnsupportedMediaError: It has none of our formats.
    """
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
    raise UnsupportedMediaError(f"The file is not an image of an accepted type: {', '.join(FORMATS)}.")


def open_image(data: bytes, max_pixels: int) -> OpenedImage:
    """Read an image's header, without decoding any pixel.

    Raises:
        UnsupportedMediaError: It has none of our formats.
        ImageSizeError: It has more than ``max_pixels``.
        BrokenImageError: It starts like one of our formats, but its header cannot be read.
    """
    image_format = detect_format(data)
    if (image_format == "JPEG" and data.count(b"\xff\xda") > MAX_JPEG_SCANS) or (
        image_format == "PNG" and data.count(b"iCCP") > MAX_PNG_PROFILES
    ):
        raise BrokenImageError(
            f"The image starts like a {image_format} file, but repeats parts that a picture has once or a few times."
        )
    try:
        image = Image.open(BoundedFile(data), formats=(image_format,))
    except Exception as error:
        raise explain_failure(image_format, error) from error
    is_run_length = image_format == "BMP" and image.tile[0].codec_name == "bmp_rle"
    allowed = min(max_pixels, MAX_RUN_LENGTH_PIXELS) if is_run_length else max_pixels
    if image.width * image.height > allowed:
        image.close()
        raise ImageSizeError(f"The image has {image.width} x {image.height} pixels. The limit is {allowed:,}.")
    return OpenedImage(image_format, image)


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode an image file. Raises what ``open_image`` and ``OpenedImage.decode`` raise."""
    return open_image(data, max_pixels).decode()


def explain_failure(image_format: Format, error: Exception) -> RequestError:
    """Return our error for an exception of Pillow.

    Hostile files make Pillow raise almost any exception, and almost all of them mean the same.
    """
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


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TO_UPRIGHT[orientation]) if orientation in TO_UPRIGHT else image


def to_grey(image: Image.Image) -> NDArray[np.uint8]:
    """Convert any mode to 8-bit grey ``(H, W)``: scale 16 bits down, put transparent pictures on paper."""
    if image.mode == "L" and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode.startswith("I"):  # 16-bit grey: I;16 or I
        return reduce_to_8_bits(np.asarray(image))
    if image.has_transparency_data:
        return put_on_paper(image if image.mode in ("RGBA", "LA") else image.convert("RGBA"))
    return np.asarray(image.convert("L"))


def reduce_to_8_bits(levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale 16-bit levels to 8 bits, in strips to save memory."""
    grey = np.empty(levels.shape, np.uint8)
    source, target = levels.ravel(), grey.ravel()
    for start in range(0, source.size, STRIP_PIXELS):
        strip = slice(start, start + STRIP_PIXELS)
        target[strip] = np.round(source[strip].astype(np.float32) / 257).clip(0, 255)
    return grey


def put_on_paper(image: Image.Image) -> NDArray[np.uint8]:
    """Composite RGBA or LA on white paper, or on black paper if the ink is light."""
    alpha, grey = image.getchannel("A"), image.convert("L")
    levels, opacity = np.asarray(grey).ravel(), np.asarray(alpha).ravel()
    weighted_sum = sum(
        int(np.dot(levels[start : start + STRIP_PIXELS].astype(np.int64), opacity[start : start + STRIP_PIXELS]))
        for start in range(0, levels.size, STRIP_PIXELS)
    )
    ink_is_light = weighted_sum > 127.5 * int(opacity.sum(dtype=np.int64))
    paper = Image.new("L", image.size, 0 if ink_is_light else 255)
    paper.paste(grey, mask=alpha)
    return np.asarray(paper)


# A fast decoder for plain PNG files: 8-bit grey, not interlaced, with no chunks but IHDR, one IDAT and IEND. Scripts
# save digits like this, so a busy service receives mostly such files. It gives the same pixels as ``decode`` in a third
# of the time, because it calls Pillow's C decoder without the Python classes around it, which take longer than the
# decoding. The price: it depends on ``Image.core``, a private part of Pillow.
PILLOW_CORE: Any = Image.core  # type: ignore[attr-defined]  # Image.frombytes and Image.tobytes are built on it
PLAIN_FIELDS = b"\x08\x00\x00\x00\x00"  # of IHDR: 8 bits, grey, deflate, the five filters, not interlaced
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
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
    image, extent = PILLOW_CORE.new("L", (width, height)), (0, 0, width, height)
    decoder, encoder = PILLOW_CORE.zip_decoder("L", "L", 0), PILLOW_CORE.raw_encoder("L", "L", 0, 1)
    decoder.setimage(image, extent)
    bytes_used, error_code = decoder.decode(data[PNG_HEAD_BYTES + 8 : end])
    if bytes_used >= 0 or error_code:  # Pillow's decoders return -1 when the picture is complete
        return None
    encoder.setimage(image, extent)
    _, _, pixels = encoder.encode(width * height)
    return Picture("PNG", width, height, np.frombuffer(pixels, np.uint8).reshape(height, width))


@lru_cache(maxsize=64)  # almost all pictures have the same size, so the same header
def read_plain_png_size(head: bytes) -> tuple[int, int]:
    """Return width and height from the signature and the chunk IHDR, or 0, 0 if the file is not a plain PNG."""
    if not head.startswith(PNG_SIGNATURE + b"\x00\x00\x00\rIHDR") or head[24:29] != PLAIN_FIELDS:
        return 0, 0
    if zlib.crc32(head[12:29]) != int.from_bytes(head[29:]):
        return 0, 0
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
