"""Takes the numbers out of a large JSON tensor in pieces.

A JSON parser keeps Python's global lock until it has read everything: for the numbers of a thousand pictures, tens of
milliseconds in which no other request is answered, whatever thread it runs in. Between pieces, other threads run.
"""

import re
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

PIECE_BYTES = 16_384  # half a millisecond
START = re.compile(rb'"data"\s*:\s*\[(?=\s*[-0-9])')


class SplitJson(NamedTuple):
    """A JSON text whose ``data`` is empty, and the numbers that were in it."""

    rest: bytes
    numbers: NDArray[np.float64]


def split_numbers(text: bytes) -> SplitJson | None:
    """Split a JSON text that has one flat list of numbers named ``data``.

    Returns None if it has none, has several, or is not valid there. Then it must be parsed in one go.
    """
    start = START.search(text)
    if start is None or text.count(b'"data"') != 1:
        return None
    place, end = start.end(), text.find(b"]", start.end())
    arrays = []
    while place <= end:
        comma = text.find(b",", place + PIECE_BYTES, end)
        piece = text[place : comma if comma >= 0 else end]
        try:
            numbers = from_json(b"[%b]" % piece)
            if not numbers or not set(map(type, numbers)) <= {int, float}:
                return None
            arrays.append(np.array(numbers, np.float64))
        except (ValueError, OverflowError):
            return None
        place += len(piece) + 1
        time.sleep(0)  # lets another thread have the lock
    return SplitJson(text[: start.end()] + text[end:], np.concatenate(arrays)) if arrays else None
