"""Rescales colour PNG files of 16 bits per channel that use few of the bits.

Pillow keeps the upper 8 bits of each channel. If a camera or an array had only 8 to 12 bits, this leaves hardly any
light. OpenCV keeps all bits.
"""

import cv2
import numpy as np
from PIL import Image

from app.imaging.grey import MAX_FEW_BITS, find_white_of_peak

DEPTH, COLOUR_TYPE = 24, 25  # where they are in a PNG file
COLOUR_TYPES = (2, 4, 6)  # colour, grey with opacity, colour with opacity


def rescale_few_bits(data: bytes, image: Image.Image) -> Image.Image:
    """Return an image with the bits that it uses scaled to 8. It is the same image unless it used few of 16.

    Args:
        data: The PNG file.
        image: What Pillow made of it.
    """
    if data[DEPTH] != 16 or data[COLOUR_TYPE] not in COLOUR_TYPES:
        return image
    if any(
        int(np.asarray(image.getchannel(band)).max()) >> MAX_FEW_BITS - 8 for band in image.getbands() if band != "A"
    ):
        return image
    deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if deep is None:
        return image
    # Its shape is (H, W, 3 or 4), with blue, green, red, and maybe opacity.
    white = find_white_of_peak(int(deep[..., :3].max()))
    scaled = cv2.convertScaleAbs(deep, alpha=255 / white)
    if deep.shape[2] == 3:
        return Image.fromarray(cv2.cvtColor(scaled, cv2.COLOR_BGR2RGB))
    rescaled = Image.fromarray(cv2.cvtColor(scaled, cv2.COLOR_BGRA2RGBA))
    if int(deep[..., 3].max()) > white:  # opacity uses all 16 bits
        rescaled.putalpha(image.getchannel("A"))
    return rescaled
