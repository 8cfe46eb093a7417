"""Finds the lines of ruled paper and the boxes of forms, so that they are not read as ink."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.pieces import Mask, Piece, find_pieces, measure_stroke_width
from app.imaging.rectangle import Rectangle

MIN_LINE_SHARE = 0.45  # of the picture's longer side: a piece at least this long may be a ruled line
EDGE_SHARE = 0.01  # of it: a ruled line continues beyond the picture, so it ends at most this far from the edge
MIN_ASPECT = 12  # a straight run of a printed line is at least this many times as long as it is wide


def find_printed_lines(mask: Mask) -> Mask:
    """Mark the pixels ``(H, W)`` of printed lines, except where a stroke crosses them.

    A piece may be printed if it is long and reaches the edge of the picture, or if it encloses other pieces. If it
    consists mostly of straight runs, which are far longer than wide, these runs are printed lines. Otherwise it is a
    stroke that a line runs through, and only runs as long as a ruled line are printed.
    """
    lines = np.zeros_like(mask)
    _, coarse = find_pieces(np.ascontiguousarray(mask[::2, ::2]))  # at half the size first: most pictures have no lines
    if not select_long_or_enclosing(coarse, (mask.shape[0] // 2, mask.shape[1] // 2)):
        return lines
    labels, pieces = find_pieces(mask)
    for piece in select_long_or_enclosing(pieces, mask.shape):
        piece_mask = (labels[piece.box.slices] == piece.label).astype(np.uint8)
        thickness = max(2, round(measure_stroke_width(piece_mask)))
        if piece.box.longer_side < MIN_ASPECT * thickness:
            continue
        lines[piece.box.slices] |= find_lines_of_piece(piece_mask, thickness, MIN_LINE_SHARE * max(mask.shape))
    return lines


def select_long_or_enclosing(pieces: Sequence[Piece], shape: tuple[int, ...]) -> list[Piece]:
    """Select the pieces that are long and reach the edge of a picture ``(H, W)``, or that enclose others."""
    edge = max(2, round(EDGE_SHARE * max(shape)))
    interior = Rectangle(edge, edge, shape[1] - edge, shape[0] - edge)
    return [
        piece
        for piece in pieces
        if (piece.box.longer_side >= MIN_LINE_SHARE * max(shape) and not interior.contains(piece.box))
        or any(piece.box.contains(other.box) for other in pieces)
    ]


def find_lines_of_piece(mask: Mask, thickness: int, min_line_length: float) -> Mask:
    """Mark the printed lines of one piece ``(h, w)``, horizontal and vertical.

    Vertical lines are the horizontal lines of the transposed piece.
    """
    horizontal = find_straight_runs(mask, thickness)
    vertical = find_straight_runs(np.ascontiguousarray(mask.T), thickness).T
    if (
        horizontal | vertical
    ).sum() <= 0.5 * mask.sum():  # not a line or a frame, but a stroke that a line runs through
        horizontal = select_long_runs(horizontal, min_line_length)
        vertical = select_long_runs(vertical.T, min_line_length).T
    return (horizontal & ~find_crossings(mask, horizontal, thickness)) | (
        vertical & ~find_crossings(mask.T, vertical.T, thickness).T
    )


def find_straight_runs(mask: Mask, thickness: int) -> Mask:
    """Mark the horizontal runs ``(h, w)`` that are long and hardly thicker than ``thickness``."""
    edge = thickness + 3  # rows of paper above and below: without them, a run as high as its box would look thick
    mask = cv2.copyMakeBorder(mask, edge, edge, 0, 0, cv2.BORDER_CONSTANT)
    runs = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((1, MIN_ASPECT * thickness), np.uint8))
    runs &= ~cv2.morphologyEx(runs, cv2.MORPH_OPEN, np.ones((edge, 1), np.uint8))
    return (cv2.dilate(runs, np.ones((2 * (thickness // 2) + 3,) * 2, np.uint8)) & mask)[edge:-edge]


def select_long_runs(runs: Mask, min_length: float) -> Mask:
    """Keep the horizontal runs ``(h, w)`` that are at least ``min_length`` pixels long."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(runs), connectivity=8)
    is_long: NDArray[np.bool_] = stats[:, cv2.CC_STAT_WIDTH] >= min_length
    is_long[0] = False  # the background
    return is_long[labels].astype(np.uint8)


def find_crossings(mask: Mask, runs: Mask, thickness: int) -> Mask:
    """Mark where a stroke crosses a horizontal run ``(h, w)``: there is ink above it and below it."""
    rest = np.ascontiguousarray(mask & ~runs)
    reach = 2 * thickness + 2
    kernel = np.ones((reach, 1), np.uint8)
    above, below = cv2.dilate(rest, kernel, anchor=(0, 0)), cv2.dilate(rest, kernel, anchor=(0, reach - 1))
    return above & below
