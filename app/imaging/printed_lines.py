"""Finds the lines of ruled paper and the boxes of forms, so that they are not read as ink."""

from collections.abc import Sequence
from itertools import accumulate

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.pieces import Mask, Piece, enclose_pieces, mark_piece, measure_stroke_width
from app.imaging.rectangle import Rectangle

MIN_LINE_SHARE = 0.45  # of the picture's longer side: a piece at least this long may be a ruled line
EDGE_SHARE = 0.01  # of it: a ruled line continues beyond the picture, so it ends at most this far from the edge
MAX_WIDER = 2  # times as wide as the thinnest lines of a piece: what is wider is a stroke, not another kind of line
THICK = 2  # times as wide as a line: a stroke of this width stays, even if it lies along the line
MIN_ASPECT = 12  # a straight run of a printed line is at least this many times as long as it is wide
THIN_SHARE = 0.8  # of the mean stroke width of a piece: what is narrower counts as thin
MIN_THIN = 0.1  # of the ink of a piece: less than this that is thin is only the rims of its strokes
ANCHOR_REACH = 1.5  # of its thickness: a line ends at another line if it ends at most this far from it
MIN_CROSSED = 3  # lines that a printed line crosses, if its ends fade; the bar of a 4 crosses one
MAX_FRAGMENT = 2  # of its thickness: a fragment of a printed line is at most this wide, though it may slope
MAX_SLOPE = 0.03  # of the length of a line of a box: so far it may lean to the side
MIN_INKED = 0.9  # of the length of a line of a box: so much of it is there
SIDE_SHARE = 0.15  # of the size of a frame: so near to the sides of its box are its lines, if it slopes
MAX_OVERLAP = 2  # times the picture's area: so large are the boxes of all examined pieces together, at most
SOFT_EDGE_PX = 2  # on each side of a line, its ink fades into the paper
SOFT_EDGE = np.ones((2 * SOFT_EDGE_PX + 1,) * 2, np.uint8)


def find_printed_lines(labels: NDArray[np.int32], pieces: Sequence[Piece]) -> Mask:
    """Mark the pixels ``(H, W)`` of printed lines and their soft edges, except where a stroke crosses them.

    A piece may be printed if it is long and reaches the edge of the picture, or if it is or may be a frame. Its
    straight runs are printed if both their ends are at the edge of the picture or at another printed line. The strokes
    of a digit end freely. A box that the edge of the picture cuts off is printed, too.

    Args:
        labels: Which piece a pixel belongs to, ``(H, W)``.
        pieces: The pieces of ink, including faint ink.
    """
    lines = np.zeros(labels.shape, np.uint8)
    for piece in select_long_or_framing(labels, pieces):
        widest = piece.box.longer_side / MIN_ASPECT
        for thickness in measure_line_widths(mark_piece(labels, piece), is_frame=is_inside(piece.box, labels.shape)):
            if thickness > widest:
                break
            box, mask = mark_with_fragments(labels, piece, pieces, MAX_FRAGMENT * thickness)
            found = find_lines_of_piece(mask, box, labels.shape, thickness)
            if found.any():
                lines[box.slices] |= found
                widest = min(widest, MAX_WIDER * thickness)
    for piece in pieces:
        if is_cut_off_box(labels, piece):
            outer = piece.box.grow(SOFT_EDGE_PX).clip(width=labels.shape[1], height=labels.shape[0])
            lines[outer.slices] |= cv2.dilate((labels[outer.slices] == piece.label).astype(np.uint8), SOFT_EDGE)
    return lines


def is_cut_off_box(labels: NDArray[np.int32], piece: Piece) -> bool:
    """Return whether a piece is what is left of a box that an edge of the picture cuts off."""
    edge, (height, width), box = edge_width(labels.shape), labels.shape, piece.box
    turns = (box.left <= edge, box.top <= edge, box.right >= width - edge, box.bottom >= height - edge)
    return any(
        is_at_edge and is_bracket(np.rot90(mark_piece(labels, piece), quarter_turns), edge)
        for quarter_turns, is_at_edge in enumerate(turns)
    )


def is_bracket(mask: Mask, edge: int) -> bool:
    """Return whether a piece ``(h, w)`` is a straight line from top to bottom with an arm to the left at each end.

    Args:
        mask: The piece.
        edge: How near to the left side the arms end, in pixels.
    """
    height, width = mask.shape
    thickness = min(measure_line_widths(mask, is_frame=True))
    arm = 2 * thickness + round(MAX_SLOPE * width)
    if height < max(MIN_ASPECT * thickness, 4 * arm):
        return False
    between = mask[arm:-arm]
    columns = np.flatnonzero(between.any(axis=0))
    if not len(columns) or columns[-1] - columns[0] >= 2 * thickness + MAX_SLOPE * height:
        return False
    reach = min(edge + 1, columns[0])
    is_long = between.any(axis=1).mean() >= MIN_INKED
    return bool(is_long and mask[:arm, :reach].any() and mask[-arm:, :reach].any())


def mark_with_fragments(
    labels: NDArray[np.int32], piece: Piece, pieces: Sequence[Piece], max_width: int
) -> tuple[Rectangle, Mask]:
    """Mark a piece and the narrow pieces in and along its box, which may be fragments of the same frame.

    Returns:
        The box that encloses them, and the mask ``(h, w)`` of what is in it.
    """
    around = piece.box.grow(max_width)
    narrow = [p for p in pieces if around.contains(p.box) and min(p.box.width, p.box.height) <= max_width]
    box = enclose_pieces([piece, *narrow])
    return box, np.isin(labels[box.slices], [p.label for p in (piece, *narrow)]).astype(np.uint8)


def measure_line_widths(mask: Mask, is_frame: bool) -> list[int]:
    """Return how wide the lines of a piece ``(h, w)`` may be, in pixels: as its thinner strokes, or as all of them.

    A printed line is often thinner than the digits that touch it. The measured width is about one too large. With one
    less, the sides of small frames are long enough for lines; but so are strokes along the lines of squared paper, so
    only frames get it.
    """
    width = measure_stroke_width(mask)
    square = np.ones((max(2, round(THIN_SHARE * width)),) * 2, np.uint8)
    thin = mask & ~cv2.dilate(cv2.morphologyEx(mask, cv2.MORPH_OPEN, square), np.ones((3, 3), np.uint8))
    widths = [width]
    if np.count_nonzero(thin) >= MIN_THIN * np.count_nonzero(mask):
        widths.append(min(width, measure_stroke_width(thin)))
    return sorted({max(2, round(each) - is_frame) for each in widths})


def select_long_or_framing(labels: NDArray[np.int32], pieces: Sequence[Piece]) -> list[Piece]:
    """Select the pieces that are long and reach the edge of the picture, enclose others, or look like a frame.

    Many pieces around one another would take seconds. Of these, only the largest are selected.
    """
    selected = [
        piece
        for piece in pieces
        if (piece.box.longer_side >= MIN_LINE_SHARE * max(labels.shape) and not is_inside(piece.box, labels.shape))
        or any(piece.box.contains(other.box) for other in pieces)
        or has_four_sides(labels[piece.box.slices] == piece.label)
    ]
    selected.sort(key=lambda piece: -piece.box.area)
    areas = accumulate(piece.box.area for piece in selected)
    return [piece for piece, area in zip(selected, areas, strict=True) if area <= MAX_OVERLAP * labels.size]


def has_four_sides(mask: NDArray[np.bool_]) -> bool:
    """Return whether a piece ``(h, w)`` has ink along all sides of its box, as a frame that digits touch."""
    across, down = (max(1, round(SIDE_SHARE * size)) for size in mask.shape)
    sides = (
        mask[:across].any(axis=0),
        mask[-across:].any(axis=0),
        mask[:, :down].any(axis=1),
        mask[:, -down:].any(axis=1),
    )
    return min(side.mean() for side in sides) >= MIN_INKED


def is_inside(box: Rectangle, shape: tuple[int, ...]) -> bool:
    """Return whether a box does not reach the edge of a picture ``(H, W)``."""
    edge = edge_width(shape)
    return Rectangle(edge, edge, shape[1] - edge, shape[0] - edge).contains(box)


def edge_width(shape: tuple[int, ...]) -> int:
    """Return how many pixels from the edge of a picture ``(H, W)`` still count as its edge."""
    return max(2, round(EDGE_SHARE * max(shape)))


def find_lines_of_piece(mask: Mask, box: Rectangle, shape: tuple[int, ...], thickness: int) -> Mask:
    """Mark the printed lines of one piece ``(h, w)`` in its box, with their soft edges.

    Vertical lines are the horizontal lines of the transposed piece.
    """
    edge = edge_width(shape)
    at_edge = box.left <= edge, box.right >= shape[1] - edge, box.top <= edge, box.bottom >= shape[0] - edge
    horizontal, thick = find_straight_runs(mask, thickness)
    vertical, thick_down = find_straight_runs(np.ascontiguousarray(mask.T), thickness)
    while True:  # dropping a run may leave another one without a hold
        before = np.count_nonzero(horizontal) + np.count_nonzero(vertical)
        horizontal, is_through = select_printed_runs(horizontal, thick, vertical.T, at_edge[:2], edge, thickness)
        vertical, is_through_down = select_printed_runs(
            vertical, thick_down, horizontal.T, at_edge[2:], edge, thickness
        )
        if np.count_nonzero(horizontal) + np.count_nonzero(vertical) == before:
            break
    if not (is_through or is_through_down or min(count_runs(horizontal), count_runs(vertical)) >= 2):
        return np.zeros_like(mask)  # neither a line through the picture nor a frame, but a 4 at its edge
    horizontal, vertical = cv2.dilate(horizontal, SOFT_EDGE), cv2.dilate(vertical, SOFT_EDGE)
    rest = mask & ~(horizontal | vertical.T)
    printed = (horizontal & ~find_crossings(rest, thickness)) | (vertical & ~find_crossings(rest.T, thickness)).T
    square = np.ones((THICK * thickness + 3,) * 2, np.uint8)
    # Without this border, a thin line would look thick in a box that is as thin.
    return printed & ~cv2.morphologyEx(mask, cv2.MORPH_OPEN, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)


def select_printed_runs(
    runs: Mask, strokes: Mask, others: Mask, at_edge: tuple[bool, bool], edge: int, thickness: int
) -> tuple[Mask, bool]:
    """Keep the horizontal runs ``(h, w)`` that look printed.

    Both ends are at the edge of the picture or at a vertical run, or it meets at least ``MIN_CROSSED`` of those.

    Args:
        runs: The runs.
        strokes: Thicker runs, along which one of them may continue.
        others: The vertical runs of the same piece.
        at_edge: Whether the left and the right side of the piece are at the edge of the picture.
        edge: How near, in pixels.
        thickness: Of the lines, in pixels.

    Returns:
        The runs, and whether one of them goes through the whole picture or meets so many others.
    """
    width, reach = runs.shape[1], round(ANCHOR_REACH * thickness) + 2
    small_gap = np.ones((3, 4 * thickness + 1), np.uint8)
    bridged = cv2.morphologyEx(runs | strokes, cv2.MORPH_CLOSE, small_gap)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bridged, connectivity=8)
    _, other_labels = cv2.connectedComponents(np.ascontiguousarray(others), connectivity=8)
    keep, is_any_through = np.zeros(count, np.uint8), False
    for label, (left, top, run_width, height, _) in enumerate(stats.tolist()[1:], start=1):
        near = other_labels[max(0, top - reach) : top + height + reach, max(0, left - reach) : left + run_width + reach]
        starts_at_edge, ends_at_edge = at_edge[0] and left <= edge, at_edge[1] and left + run_width >= width - edge
        is_held_left = starts_at_edge or near[:, : 2 * reach + 1].any()
        is_held_right = ends_at_edge or near[:, -2 * reach - 1 :].any()
        meets_many = np.count_nonzero(np.bincount(near.ravel())[1:]) >= MIN_CROSSED
        keep[label] = (is_held_left and is_held_right) or meets_many
        is_any_through |= bool((starts_at_edge and ends_at_edge) or meets_many)
    return keep[labels] & runs, is_any_through


def count_runs(runs: Mask) -> int:
    """Return how many connected runs there are in ``(h, w)``."""
    return cv2.connectedComponents(np.ascontiguousarray(runs), connectivity=8)[0] - 1


def find_straight_runs(mask: Mask, thickness: int) -> tuple[Mask, Mask]:
    """Mark the long horizontal runs ``(h, w)``: those hardly thicker than ``thickness``, and the thicker ones."""
    edge = thickness + 3  # rows of paper above and below: without them, a run as high as its box would look thick
    mask = cv2.copyMakeBorder(mask, edge, edge, 0, 0, cv2.BORDER_CONSTANT)
    runs = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((1, MIN_ASPECT * thickness), np.uint8))
    thick = cv2.morphologyEx(runs, cv2.MORPH_OPEN, np.ones((edge, 1), np.uint8))
    thin = cv2.dilate(runs & ~thick, np.ones((2 * (thickness // 2) + 3,) * 2, np.uint8)) & mask
    return thin[edge:-edge], thick[edge:-edge]


def find_crossings(rest: Mask, thickness: int) -> Mask:
    """Mark where a stroke crosses horizontal lines ``(h, w)``: the rest of the ink is above and below."""
    rest = np.ascontiguousarray(rest)
    reach = 2 * (thickness + SOFT_EDGE_PX) + 4
    kernel = np.ones((reach, 1), np.uint8)
    above, below = cv2.dilate(rest, kernel, anchor=(0, 0)), cv2.dilate(rest, kernel, anchor=(0, reach - 1))
    return above & below
