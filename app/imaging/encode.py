"""Pixels to image files: PNG bytes and data URIs."""

import base64
import io

from PIL import Image

from app.imaging.digit_image import Grey


def to_png(pixels: Grey, enlarge: int = 1, compress_level: int = 6) -> bytes:
    """Encode pixels ``(H, W)`` or ``(H, W, 3)`` as a PNG file, each pixel drawn as a square of ``enlarge`` pixels."""
    image = Image.fromarray(pixels)
    if enlarge > 1:
        image = image.resize((enlarge * image.width, enlarge * image.height), Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=compress_level)
    return file.getvalue()


def to_data_uri(pixels: Grey) -> str:
    """Encode pixels ``(H, W)`` as a PNG in a ``data:`` URI."""
    return f"data:image/png;base64,{base64.b64encode(to_png(pixels)).decode()}"
