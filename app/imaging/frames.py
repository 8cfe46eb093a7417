"""Drops what is left of the frames of forms: pieces of ink that surround others and are thinner.

The lines of a faint frame have gaps. Then they do not end at other lines, and are not found as printed lines. Their
parts would be read as 1 or 7.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.pieces import Piece, mark_piece, measure_stroke_width

MIN_SURROUNDED = 2  # pieces of writing in the box of a frame
MIN_INSIDE = 0.7  # of the area of a piece's box: so much of it is in the box that surrounds it
MIN_WRITING = 0.25  # of the shorter side of a frame: smaller pieces in it are dirt
MAX_FILL = 0.25  # of its box: so much of a frame is ink
MAX_OVERLAP = 4  # times the picture's area: if all boxes together are larger, this is no form, and looking takes long
MAX_THICK = 0.1  # of its ink: so much of a frame may be as wide as the strokes in it, where it meets one


def drop_frames(labels: NDArray[np.int32], pieces: Sequence[Piece]) -> list[Piece]:
    """Return the pieces without those that are frames of others.

    Args:
        labels: Which piece a pixel belongs to, ``(H, W)``.
        pieces: The pieces of strong ink.
    """
    boxes = np.array([(piece.box.left, piece.box.top, piece.box.right, piece.box.bottom) for piece in pieces])
    if len(boxes) <= MIN_SURROUNDED or sum(piece.box.area for piece in pieces) > MAX_OVERLAP * labels.size:
        return list(pieces)
    starts, ends = (
        np.maximum(boxes[:, None, :2], boxes[None, :, :2]),
        np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]),
    )
    sizes = boxes[:, 2:] - boxes[:, :2]
    is_inside = (ends - starts).clip(0).prod(axis=2) >= MIN_INSIDE * sizes.prod(axis=1)  # [around, inside]
    is_writing = is_inside & (sizes.max(axis=1) >= MIN_WRITING * sizes.min(axis=1)[:, None])
    np.fill_diagonal(is_writing, False)
    return [
        piece
        for piece, writing in zip(pieces, is_writing, strict=True)
        if np.count_nonzero(writing) < MIN_SURROUNDED
        or piece.area > MAX_FILL * piece.box.area
        or not is_thinner(labels, piece, [other for other, is_in in zip(pieces, writing, strict=True) if is_in])
    ]


def is_thinner(labels: NDArray[np.int32], piece: Piece, writing: Sequence[Piece]) -> bool:
    """Return whether a piece has thinner strokes than the pieces in it."""
    width = np.median([measure_stroke_width(mark_piece(labels, other)) for other in writing])
    mask = mark_piece(labels, piece)
    thick = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((max(2, round(width)),) * 2, np.uint8))
    return cv2.countNonZero(thick) <= MAX_THICK * piece.area
