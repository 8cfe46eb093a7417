"""The bytes of an image file -> grey pixels, upright.

Only the five decoders named here can run, whatever Pillow knows; type and size are checked before any pixel is
decoded. Knows nothing of digits or of HTTP.
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

# Pixels, of the shorter side: a larger JPEG is decoded at a half, a quarter or an eighth of its size, as long as this
# many are left. That saves most of the time and memory that a photograph costs.
ENOUGH = 1_000
ORIENTATION = 0x0112  # the EXIF tag
UPRIGHT = {  # EXIF orientation -> what brings the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
EXIF = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})  # where Pillow looks for it
SIDEWAYS = (5, 6, 7, 8)

# What no real picture has, and what would keep a decoder busy for minutes over a few megabytes.
MOST_READS = 50_000  # of a file: Pillow reads a few bytes for each of its chunks, segments or blocks
MOST_SCANS = 64  # of a JPEG: each goes over the whole picture, and may take forty bytes; progressive ones have ten
MOST_PROFILES = 8  # of a PNG: each is inflated, to a megabyte, and the last one counts
MOST_RUN_LENGTH = 1_000_000  # pixels of a run-length encoded BMP, which Pillow decodes in Python
STRIP = 65_536  # pixels that are worked on at once, where it takes several bytes for each


class Picture(NamedTuple):
    """A decoded image: grey, upright."""

    format: Format
    width: int  # pixels, upright
    height: int
    # 0 is black. (height, width), or fewer where a large JPEG was decoded at part of its size.
    pixels: NDArray[np.uint8]

    def in_picture(self, box: Rectangle) -> Rectangle:
        """A box of the pixels, in pixels of the whole picture."""
        return box.scaled(self.width / self.pixels.shape[1]).within_size(self.width, self.height)


class File(io.BytesIO):
    """A file in memory that cannot be read without end."""

    left = MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise ValueError("the file is in far too many pieces")
        return super().read(size)


class OpenedImage(NamedTuple):
    """An image whose header was read."""

    format: Format
    image: Image.Image

    @property
    def pixels(self) -> int:
        """How many it has."""
        return self.image.width * self.image.height

    def decode(self) -> Picture:
        """Decode the image; of an animation, the first frame.

        Raises:
            BrokenImageError: it cannot be decoded.
        """
        size = self.image.size
        try:
            with self.image as image:
                if self.format == "JPEG" and image.mode in ("L", "RGB"):
                    image.draft("L", (ENOUGH, ENOUGH))
                image.load()
                orientation = orientation_of(image)
                width, height = size[::-1] if orientation in SIDEWAYS else size
                return Picture(self.format, width, height, to_grey(upright(image, orientation)))
        except Exception as error:
            raise refusal(self.format, error) from error


def identify(data: bytes) -> Format:
    """Tell an image's type by its first bytes; what its sender calls it does not count.

    Raises:
        UnsupportedMediaError: it is none of ours.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith(b"BM"):
        return "BMP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    raise UnsupportedMediaError(f"This is not an image of a type that we take: {', '.join(FORMATS)}.")


def open_image(data: bytes, max_pixels: int) -> OpenedImage:
    """Look at an image's header, and decode nothing yet.

    Raises:
        UnsupportedMediaError: not of a type that we take.
        ImageSizeError: more than ``max_pixels``.
        BrokenImageError: it begins as one of ours and its header cannot be read.
    """
    kind = identify(data)
    if (kind == "JPEG" and data.count(b"\xff\xda") > MOST_SCANS) or (
        kind == "PNG" and data.count(b"iCCP") > MOST_PROFILES
    ):
        raise BrokenImageError(f"The image begins as {kind} and repeats parts that a picture has once, or a few times.")
    try:
        image = Image.open(File(data), formats=(kind,))
    except Exception as error:
        raise refusal(kind, error) from error
    run_length = kind == "BMP" and image.tile[0].codec_name == "bmp_rle"
    allowed = min(max_pixels, MOST_RUN_LENGTH) if run_length else max_pixels
    if image.width * image.height > allowed:
        image.close()
        raise ImageSizeError(f"The image has {image.width} x {image.height} pixels, and {allowed:,} are allowed.")
    return OpenedImage(kind, image)


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode an image file; raises what ``open_image`` and ``OpenedImage.decode`` do."""
    return open_image(data, max_pixels).decode()


def refusal(kind: Format, error: Exception) -> RequestError:
    """What it means that Pillow fails: hostile files make it raise nearly anything, and nearly all means the same."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):  # Pillow's own limit
        return ImageSizeError("The image has far more pixels than are allowed.")
    return BrokenImageError(f"The image begins as {kind} and cannot be decoded: it is damaged or cut short.")


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of an image; 1, which is upright, where it has none."""
    if EXIF.isdisjoint(image.info):
        return 1
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged EXIF block is no reason to refuse a picture that decodes
        return 1
    return orientation if orientation in UPRIGHT else 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def to_grey(image: Image.Image) -> NDArray[np.uint8]:
    """Bring any mode to 8-bit grey: 16 bits are scaled, transparency is laid on paper."""
    if image.mode == "L" and "transparency" not in image.info:
        return np.asarray(image)
    if image.mode.startswith("I"):  # 16-bit grey, as I;16 or I
        return scaled_down(np.asarray(image))
    if image.has_transparency_data:
        return lay_on_paper(image if image.mode in ("RGBA", "LA") else image.convert("RGBA"))
    return np.asarray(image.convert("L"))


def scaled_down(levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Bring 16-bit levels to 8 bits, in strips."""
    grey = np.empty(levels.shape, np.uint8)
    of, to = levels.ravel(), grey.ravel()
    for start in range(0, of.size, STRIP):
        strip = slice(start, start + STRIP)
        to[strip] = np.round(of[strip].astype(np.float32) / 257).clip(0, 255)
    return grey


def lay_on_paper(image: Image.Image) -> NDArray[np.uint8]:
    """Composite RGBA or LA on white paper, or on black where the ink is light."""
    alpha, grey = image.getchannel("A"), image.convert("L")
    inks, cover = np.asarray(grey).ravel(), np.asarray(alpha).ravel()
    weight = sum(
        int(np.dot(inks[start : start + STRIP].astype(np.int64), cover[start : start + STRIP]))
        for start in range(0, inks.size, STRIP)
    )
    ink_is_light = weight > 127.5 * int(cover.sum(dtype=np.int64))
    paper = Image.new("L", image.size, 0 if ink_is_light else 255)
    paper.paste(grey, mask=alpha)
    return np.asarray(paper)


# The part for plain PNG files.
CORE: Any = Image.core  # type: ignore[attr-defined]  # Pillow's C part: what Image.frombytes and Image.tobytes are made of
SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY = b"\x08\x00\x00\x00\x00"  # 8 bits, grey, deflate, the five filters, not interlaced
END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
AFTER_HEADER = 33  # bytes: the signature, and the chunk IHDR


def decode_plain_png(data: bytes, max_pixels: int) -> Picture | None:
    """Decode a plain PNG of up to ``max_pixels``; None where it is anything else."""
    width, height = plain_png_size(data[:AFTER_HEADER])
    length = int.from_bytes(data[AFTER_HEADER : AFTER_HEADER + 4])
    end = AFTER_HEADER + 8 + length  # of the one IDAT, for small pictures have no more
    if not 0 < width * height <= max_pixels or data[AFTER_HEADER + 4 : AFTER_HEADER + 8] != b"IDAT":
        return None
    if data[end + 4 :] != END or zlib.crc32(data[AFTER_HEADER + 4 : end]) != int.from_bytes(data[end : end + 4]):
        return None
    image, whole = CORE.new("L", (width, height)), (0, 0, width, height)
    decoder, encoder = CORE.zip_decoder("L", "L", 0), CORE.raw_encoder("L", "L", 0, 1)
    decoder.setimage(image, whole)
    missing, fault = decoder.decode(data[AFTER_HEADER + 8 : end])
    if missing >= 0 or fault:
        return None
    encoder.setimage(image, whole)
    _, _, pixels = encoder.encode(width * height)
    return Picture("PNG", width, height, np.frombuffer(pixels, np.uint8).reshape(height, width))


@lru_cache(maxsize=64)  # nearly all that come are of one size
def plain_png_size(header: bytes) -> tuple[int, int]:
    """Width and height by the signature and the chunk IHDR; 0, 0 where it is no plain PNG's."""
    if not header.startswith(SIGNATURE + b"\x00\x00\x00\rIHDR") or header[24:29] != GREY:
        return 0, 0
    if zlib.crc32(header[12:29]) != int.from_bytes(header[29:]):
        return 0, 0
    return int.from_bytes(header[16:20]), int.from_bytes(header[20:24])
