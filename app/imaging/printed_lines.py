"""Finds the lines of ruled paper and the boxes of forms, so that they are not read as ink."""

from collections.abc import Sequence

import cv2
import numpy as np

from app.imaging.pieces import Mask, Piece, find_pieces, measure_stroke_width
from app.imaging.rectangle import Rectangle

MIN_LINE_SHARE = 0.45  # of the picture's longer side: a piece at least this long may be a ruled line
EDGE_SHARE = 0.01  # of it: a ruled line continues beyond the picture, so it ends at most this far from the edge
MIN_ASPECT = 12  # a straight run of a printed line is at least this many times as long as it is wide
ANCHOR_REACH = 1.5  # of its thickness: a line ends at another line if it ends at most this far from it
SOFT_EDGE_PX = 2  # on each side of a line, its ink fades into the paper


def find_printed_lines(mask: Mask) -> Mask:
    """Mark the pixels ``(H, W)`` of printed lines and their soft edges, except where a stroke crosses them.

    A piece may be printed if it is long and reaches the edge of the picture, or if it encloses other pieces. Its
    straight runs are printed if both their ends are at the edge of the picture or at another printed line. The strokes
    of a digit end freely.
    """
    lines = np.zeros_like(mask)
    _, coarse = find_pieces(np.ascontiguousarray(mask[::2, ::2]))  # at half the size first: most pictures have no lines
    if not select_long_or_enclosing(coarse, (mask.shape[0] // 2, mask.shape[1] // 2)):
        return lines
    labels, pieces = find_pieces(mask)
    for piece in select_long_or_enclosing(pieces, mask.shape):
        piece_mask = (labels[piece.box.slices] == piece.label).astype(np.uint8)
        thickness = max(2, round(measure_stroke_width(piece_mask)))
        if piece.box.longer_side >= MIN_ASPECT * thickness:
            lines[piece.box.slices] |= find_lines_of_piece(piece_mask, piece.box, mask.shape, thickness)
    return lines


def select_long_or_enclosing(pieces: Sequence[Piece], shape: tuple[int, ...]) -> list[Piece]:
    """Select the pieces that are long and reach the edge of a picture ``(H, W)``, or that enclose others."""
    edge = edge_width(shape)
    interior = Rectangle(edge, edge, shape[1] - edge, shape[0] - edge)
    return [
        piece
        for piece in pieces
        if (piece.box.longer_side >= MIN_LINE_SHARE * max(shape) and not interior.contains(piece.box))
        or any(piece.box.contains(other.box) for other in pieces)
    ]


def edge_width(shape: tuple[int, ...]) -> int:
    """Return how near to the edge of a picture ``(H, W)`` a line ends that continues beyond it."""
    return max(2, round(EDGE_SHARE * max(shape)))


def find_lines_of_piece(mask: Mask, box: Rectangle, shape: tuple[int, ...], thickness: int) -> Mask:
    """Mark the printed lines of one piece ``(h, w)`` in its box, with their soft edges.

    Vertical lines are the horizontal lines of the transposed piece.
    """
    edge = edge_width(shape)
    at_edge = box.left <= edge, box.right >= shape[1] - edge, box.top <= edge, box.bottom >= shape[0] - edge
    horizontal = find_straight_runs(mask, thickness)
    vertical = find_straight_runs(np.ascontiguousarray(mask.T), thickness)
    while True:  # a run that is given up may have held another one
        before = np.count_nonzero(horizontal) + np.count_nonzero(vertical)
        horizontal = select_anchored_runs(horizontal, vertical.T, at_edge[:2], edge, thickness)
        vertical = select_anchored_runs(vertical, horizontal.T, at_edge[2:], edge, thickness)
        if np.count_nonzero(horizontal) + np.count_nonzero(vertical) == before:
            break
    soft_edge = np.ones((2 * SOFT_EDGE_PX + 1,) * 2, np.uint8)
    horizontal, vertical = cv2.dilate(horizontal, soft_edge), cv2.dilate(vertical, soft_edge)
    rest = mask & ~(horizontal | vertical.T)
    return (horizontal & ~find_crossings(rest, thickness)) | (vertical & ~find_crossings(rest.T, thickness)).T


def select_anchored_runs(runs: Mask, others: Mask, at_edge: tuple[bool, bool], edge: int, thickness: int) -> Mask:
    """Keep the horizontal runs ``(h, w)`` with both ends at the edge of the picture or at one of the other runs.

    Args:
        runs: The runs.
        others: The vertical runs of the same piece.
        at_edge: Whether the left and the right side of the piece are at the edge of the picture.
        edge: How near, in pixels.
        thickness: Of the lines, in pixels.
    """
    width, reach = runs.shape[1], round(ANCHOR_REACH * thickness) + 2
    bridged = cv2.morphologyEx(runs, cv2.MORPH_CLOSE, np.ones((3, 4 * thickness + 1), np.uint8))  # over small gaps
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bridged, connectivity=8)
    keep = np.zeros(count, np.uint8)
    for label, (left, top, run_width, height, _) in enumerate(stats.tolist()[1:], start=1):
        is_run = labels[top : top + height, left : left + run_width] == label
        first_row, last_row = top + int(np.argmax(is_run[:, 0])), top + int(np.argmax(is_run[:, -1]))
        right = left + run_width - 1
        keep[label] = ((at_edge[0] and left <= edge) or has_ink_near(others, first_row, left, reach)) and (
            (at_edge[1] and right >= width - 1 - edge) or has_ink_near(others, last_row, right, reach)
        )
    return keep[labels] & runs


def has_ink_near(mask: Mask, row: int, column: int, reach: int) -> bool:
    """Return whether a mask has ink at most ``reach`` pixels away from a pixel, along each axis."""
    return bool(mask[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1].any())


def find_straight_runs(mask: Mask, thickness: int) -> Mask:
    """Mark the horizontal runs ``(h, w)`` that are long and hardly thicker than ``thickness``."""
    edge = thickness + 3  # rows of paper above and below: without them, a run as high as its box would look thick
    mask = cv2.copyMakeBorder(mask, edge, edge, 0, 0, cv2.BORDER_CONSTANT)
    runs = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((1, MIN_ASPECT * thickness), np.uint8))
    runs &= ~cv2.morphologyEx(runs, cv2.MORPH_OPEN, np.ones((edge, 1), np.uint8))
    return (cv2.dilate(runs, np.ones((2 * (thickness // 2) + 3,) * 2, np.uint8)) & mask)[edge:-edge]


def find_crossings(rest: Mask, thickness: int) -> Mask:
    """Mark where a stroke crosses horizontal lines ``(h, w)``: the rest of the ink is above and below."""
    rest = np.ascontiguousarray(rest)
    reach = 2 * (thickness + SOFT_EDGE_PX) + 2
    kernel = np.ones((reach, 1), np.uint8)
    above, below = cv2.dilate(rest, kernel, anchor=(0, 0)), cv2.dilate(rest, kernel, anchor=(0, reach - 1))
    return above & below
