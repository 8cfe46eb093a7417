"""Tells a lack of memory from a damaged image."""

import cv2
import numpy as np

DECODER_BYTES = 12  # per pixel: what a decoder and its result take at most, such as for a progressive JPEG in colour
OPENCV_TEXTS = ("Insufficient memory", "bad_alloc")  # in the messages of OpenCV


def is_out_of_memory(error: Exception, pixels: int = 0) -> bool:
    """Return whether an exception means that there was not enough memory.

    Args:
        error: The exception.
        pixels: How many pixels a decoder was decoding. Decoders report a lack of memory in many ways, often as a
            damaged file. So this tries to allocate what a picture of this size needs, and does not use it.
    """
    if isinstance(error, cv2.error):
        return any(text in str(error) for text in OPENCV_TEXTS)
    try:
        np.empty(pixels * DECODER_BYTES, np.uint8)
    except MemoryError:
        return True
    return isinstance(error, MemoryError)
