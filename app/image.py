"""The bytes of an image file -> grey pixels, upright.

Only the five decoders named here can run, whatever Pillow knows; type and size are checked before any pixel is
decoded. Knows nothing of digits or of HTTP.
"""

import io
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.box import Box
from app.errors import BrokenImageError, ImageSizeError, RequestError, UnsupportedMediaError

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


class Picture(NamedTuple):
    """A decoded image: grey, upright."""

    format: Format
    width: int  # pixels, upright
    height: int
    # 0 is black. (height, width), or fewer where a large JPEG was decoded at part of its size.
    pixels: NDArray[np.uint8]

    def in_picture(self, box: Box) -> Box:
        """A box of the pixels, in pixels of the whole picture."""
        return box.scaled(self.width / self.pixels.shape[1]).within_size(self.width, self.height)


class Opened(NamedTuple):
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


def open_image(data: bytes, max_pixels: int) -> Opened:
    """Look at an image's header, and decode nothing yet.

    Raises:
        UnsupportedMediaError: not of a type that we take.
        ImageSizeError: more than ``max_pixels``.
        BrokenImageError: it begins as one of ours and its header cannot be read.
    """
    kind = identify(data)
    try:
        image = Image.open(io.BytesIO(data), formats=(kind,))
    except Exception as error:
        raise refusal(kind, error) from error
    if image.width * image.height > max_pixels:
        image.close()
        raise ImageSizeError(f"The image has {image.width} x {image.height} pixels, and {max_pixels:,} are allowed.")
    return Opened(kind, image)


def decode(data: bytes, max_pixels: int) -> Picture:
    """Decode an image file; raises what ``open_image`` and ``Opened.decode`` do."""
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
        return np.round(np.asarray(image).astype(np.float32) / 257).clip(0, 255).astype(np.uint8)
    if image.has_transparency_data:
        return lay_on_paper(np.asarray(image.convert("RGBA").convert("LA")))
    return np.asarray(image.convert("L"))


def lay_on_paper(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Composite grey with alpha, ``(H, W, 2)``, on white paper, or on black where the ink is light."""
    grey, alpha = pixels[..., 0].astype(np.float32), pixels[..., 1].astype(np.float32) / 255
    cover = alpha.sum()
    ink_is_light = cover > 0 and (grey * alpha).sum() / cover > 127.5
    paper = 0.0 if ink_is_light else 255.0
    return np.round(grey * alpha + paper * (1 - alpha)).astype(np.uint8)
