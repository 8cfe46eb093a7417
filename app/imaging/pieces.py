"""Connected pieces of ink, and how wide their strokes are."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.rectangle import Rectangle, enclose

MAX_PIECES = 200  # of one picture; more is not writing
MIN_PIECE_RATIO = 0.05  # to the largest piece's longer side; smaller pieces are dirt

Mask = NDArray[np.uint8]
"""Marks pixels ``(H, W)``: 1 or 0."""


@dataclass(frozen=True)
class Piece:
    """Ink that is connected."""

    label: int  # of its pixels in the array of labels
    box: Rectangle
    area: int  # pixels


def find_pieces(mask: Mask) -> tuple[NDArray[np.int32], list[Piece]]:
    """Find the connected pieces of a mask ``(H, W)``, without specks: at most ``MAX_PIECES``, the largest ones.

    Returns:
        Labels ``(H, W)`` that say which piece a pixel belongs to (0 is none), and the pieces in the order of labels.
        The pixels of specks keep labels that no piece has.
    """
    # Labelling costs most here, and most of a picture is paper: label only the box of the ink.
    left, top, width, height = cv2.boundingRect(mask)
    labels = np.zeros(mask.shape, np.int32)
    if not width:
        return labels, []
    inner = mask[top : top + height, left : left + width]
    _, labels[top : top + height, left : left + width], stats, _ = cv2.connectedComponentsWithStats(
        inner, connectivity=8
    )
    boxes, areas = stats[1:, :4] + np.array([left, top, 0, 0]), stats[1:, 4]
    longer_sides = boxes[:, 2:].max(axis=1)
    keep = np.sort(np.argsort(-areas, kind="stable")[:MAX_PIECES])
    keep = keep[longer_sides[keep] >= MIN_PIECE_RATIO * longer_sides.max()]
    pieces = [
        Piece(index + 1, Rectangle(x, y, x + width, y + height), area)
        for index, (x, y, width, height), area in zip(
            keep.tolist(), boxes[keep].tolist(), areas[keep].tolist(), strict=True
        )
    ]
    return labels, pieces


def mark_piece(labels: NDArray[np.int32], piece: Piece) -> Mask:
    """Mark the pixels of a piece in its box."""
    return (labels[piece.box.slices] == piece.label).astype(np.uint8)


def enclose_pieces(pieces: Sequence[Piece]) -> Rectangle:
    """Return the smallest box that contains all of these pieces."""
    return enclose([piece.box for piece in pieces])


def measure_stroke_width(mask: Mask) -> float:
    """Return how wide the strokes of a mask are, in pixels, or 0 without ink.

    The pixels of a bar are on average a quarter of its width away from its edge. The result is about one too many: here
    the edge is the middle of the nearest pixel without ink.
    """
    distance = cv2.distanceTransform(cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 3)
    area = cv2.countNonZero(mask)
    return 4 * cv2.sumElems(distance)[0] / area - 1 if area else 0.0
