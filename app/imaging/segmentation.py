"""Divides ink into the digits that may be in it, line by line, and finds the reading that the scores support best.

Touching pieces are cut wherever digits might meet, and pieces that might belong together are also tried together. These
are the candidates. A network scores them elsewhere. The reading is the cheapest path through the candidates of a line:
over-segmentation with dynamic programming, as in LeCun et al. 1998, "Gradient-Based Learning Applied to Document
Recognition".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from app.errors import CrowdedPictureError
from app.imaging.digit_image import Grey
from app.imaging.ink import Ink
from app.imaging.normalize import find_full_ink, fit_digit
from app.imaging.pieces import Mask, Piece, enclose_pieces
from app.imaging.rectangle import Rectangle, enclose
from app.imaging.rows import MAX_COMMA, TALL, group_into_rows
from app.imaging.seams import Seam, find_seams

# What a picture may cost, in candidates of usual size. A digit has about ten candidates; each takes 0.2 ms of CPU time,
# and large ones more: their area counts.
MAX_EFFORT, AREA_OF_EFFORT = 2_000, 40_000
MAX_PARTS = 14  # of one digit
MAX_WIDTH, MAX_GAP = 1.6, 0.3  # of a digit, and of the gaps in it together; in line heights
MIN_INK_PIXELS = 4  # of a candidate
# Marks between digits. A comma or point begins below the middle of the digit next to it. A minus sign is low, in line
# heights, and flat.
MAX_DASH, DASH_ASPECT = 0.35, 1.5

# Costs, in nats; ``seams.py`` has that of a cut.
JOIN_COST = 0.1  # for joining two groups in one digit
GAP_COST = 0.8  # for a gap of one line height within a digit
SKIP_COST = 4.0  # for skipping a part that is as large as the line is high
DIGIT_COST = 0.2  # for each digit: of two paths that are equally good, take the one with fewer digits
SMALL_COST, SMALL_SHARE = 2.0, 0.5  # for a digit e times lower than this share of the line height
# For the share of a digit's width beyond FREE_OVERLAP that lies over the digit before it.
OVERLAP_COST, FREE_OVERLAP = 1.5, 0.6
MARK_COST = 3.0  # for reading as a digit what looks like a comma, a point or a minus sign
MAX_ENDINGS = 16  # digits that a path may end with; more are never the cheapest


@dataclass(frozen=True)
class Part:
    """The ink between two neighbouring places where a line may be cut."""

    box: Rectangle
    mask: Mask  # (h, w), of the box
    group: int  # the number of the group of pieces that it was cut from
    cut_cost: float  # nats, for cutting before this part


@dataclass(frozen=True)
class Candidate:
    """A possible digit: the parts of a line from ``start`` up to, but not including, ``end``."""

    start: int
    end: int
    box: Rectangle
    pixels: Grey  # (28, 28)
    cost: float  # nats, for taking it as one digit and for cutting before it


@dataclass(frozen=True)
class Line:
    """One line of writing."""

    skip_costs: list[float]  # of each part, for reading it as no digit: low for small parts, which may be dirt
    candidates: list[Candidate]


def propose_lines(ink: Ink, max_effort: float = MAX_EFFORT) -> list[Line]:
    """Find the lines of a picture, top to bottom, and everything in them that may be a digit.

    Raises:
        CrowdedPictureError: There is far more in the picture than numbers.
    """
    lines: list[Line] = []
    for row in group_into_rows(ink.pieces):
        lines.append(propose_line(ink, row, max_effort))
        max_effort -= sum(measure_effort(candidate.box) for candidate in lines[-1].candidates)
    return lines


def measure_effort(box: Rectangle) -> float:
    """Return what a candidate in this box costs, in candidates of usual size."""
    return 1 + box.area / AREA_OF_EFFORT


def propose_line(ink: Ink, row: Sequence[Piece], max_effort: float = MAX_EFFORT) -> Line:
    """Divide a row of pieces into parts, and make a candidate of every run of parts that may be one digit.

    Raises:
        CrowdedPictureError: That would cost more than ``max_effort``.
    """
    tallest = max(piece.box.height for piece in row)
    line_height = float(np.median([piece.box.height for piece in row if piece.box.height >= 0.5 * tallest]))
    groups = group_stacked_pieces(row)
    parts = [part for number, group in enumerate(groups) for part in divide_group(ink, group, number, line_height)]
    digits = [piece.box for piece in row if piece.box.height >= MAX_COMMA * line_height]
    candidates: list[Candidate] = []
    for start in range(len(parts)):
        for end in range(start + 1, min(len(parts), start + MAX_PARTS) + 1):
            run = parts[start:end]
            box = enclose([part.box for part in run])
            gaps = [b.box.left - a.box.right for a, b in pairwise(run) if a.group != b.group]
            total_gap = sum(max(0, gap) for gap in gaps)
            if len(run) > 1 and (box.width > MAX_WIDTH * line_height or total_gap > MAX_GAP * line_height):
                break
            max_effort -= measure_effort(box)
            if max_effort < 0:
                raise CrowdedPictureError(
                    "There is far more in this picture than numbers of up to 20 digits. Send only the part to read."
                )
            mask = merge_masks(run, box)
            if mask.sum() >= MIN_INK_PIXELS:
                cost = run[0].cut_cost + JOIN_COST * len(gaps) + GAP_COST * total_gap / line_height
                cost += SMALL_COST * max(0.0, math.log(SMALL_SHARE * line_height / box.height))
                cost += MARK_COST * is_mark(box, digits, line_height)
                candidates.append(Candidate(start, end, box, fit_digit(ink.cut_out(box, mask)), cost))
    return Line([skip_cost(part.box, digits, line_height) for part in parts], candidates)


def merge_masks(parts: Sequence[Part], box: Rectangle) -> Mask:
    """Combine the masks of parts into one of the box that encloses them."""
    mask = np.zeros((box.height, box.width), np.uint8)
    for part in parts:
        mask[part.box.slices_in(box)] |= part.mask
    return mask


def skip_cost(part: Rectangle, digits: Sequence[Rectangle], line_height: float) -> float:
    """Return what it costs to read a part as no digit. A part as high as a digit must be read."""
    if part.height < TALL * line_height or is_mark(part, digits, line_height):
        return SKIP_COST * part.longer_side / line_height
    return math.inf


def is_mark(box: Rectangle, digits: Sequence[Rectangle], line_height: float) -> bool:
    """Return whether a box among digits looks like that of a comma, a point or a minus sign."""
    if box.height <= MAX_DASH * line_height and box.width >= DASH_ASPECT * box.height:
        return True
    if box.height > MAX_COMMA * line_height or not digits:
        return False
    nearest = min(digits, key=lambda digit: max(digit.left - box.right, box.left - digit.right))
    return box.top > (nearest.top + nearest.bottom) / 2


def group_stacked_pieces(row: Sequence[Piece]) -> list[list[Piece]]:
    """Put pieces above one another into one group. Groups are ordered left to right."""
    groups: list[list[Piece]] = []
    for piece in sorted(row, key=lambda p: p.box.left):
        if groups:
            box = enclose_pieces(groups[-1])
            overlap = min(box.right, piece.box.right) - piece.box.left
            if overlap > 0.6 * min(box.width, piece.box.width):
                groups[-1].append(piece)
                continue
        groups.append([piece])
    return groups


def divide_group(ink: Ink, group: Sequence[Piece], number: int, line_height: float) -> list[Part]:
    """Divide a group along its cheapest seams, if it is wide enough for two digits."""
    box, mask = enclose_pieces(group), ink.mask(group)
    if box.width < 0.5 * line_height:
        return [Part(box, mask, number, 0.0)]
    weight = weigh_ink(ink.strength[box.slices], mask)
    parts: list[Part] = []
    columns = np.arange(box.width)
    left_edge, cut_cost = np.zeros(box.height, int), 0.0
    for right_edge, next_cost in [*find_seams(weight, line_height), Seam(np.full(box.height, box.width), 0.0)]:
        part_mask = mask * ((columns >= left_edge[:, None]) & (columns < right_edge[:, None]))
        inked_columns, inked_rows = np.flatnonzero(part_mask.any(axis=0)), np.flatnonzero(part_mask.any(axis=1))
        if len(inked_columns):
            left, right = int(inked_columns[0]), int(inked_columns[-1]) + 1
            top, bottom = int(inked_rows[0]), int(inked_rows[-1]) + 1
            part_box = Rectangle(box.left + left, box.top + top, box.left + right, box.top + bottom)
            parts.append(Part(part_box, part_mask[top:bottom, left:right], number, cut_cost))
            cut_cost = next_cost
        left_edge = right_edge
    return parts


def weigh_ink(strength: Grey, mask: Mask) -> NDArray[np.float32]:
    """Return how much it counts to cut through each pixel ``(h, w)``, from 0 for paper to 1 for full ink.

    Touching digits often meet in faint ink. Its square makes it cheap to cut.
    """
    full = find_full_ink(strength, mask)
    return np.square(np.minimum(strength / full, 1, dtype=np.float32) * mask)


def find_best_path(line: Line, scores: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the candidates that make up the line at the lowest cost.

    Args:
        line: The line.
        scores: Of each candidate, the probability of the digit that it is read as, and its typicality.
    """
    costs = [candidate.cost + reading_cost(*score) for candidate, score in zip(line.candidates, scores, strict=True)]
    ending: list[list[int]] = [[] for _ in range(len(line.skip_costs) + 1)]
    for index, candidate in enumerate(line.candidates):
        ending[candidate.end].append(index)
    # Of each number of parts, the cheapest path for each digit that it may end with, since the next one may overlap it.
    best: list[dict[int | None, tuple[float, list[int]]]] = [{None: (0.0, [])}]
    for end, skip in enumerate(line.skip_costs, start=1):
        paths = {last: (cost + skip, path) for last, (cost, path) in best[-1].items() if skip < math.inf}
        for index in ending[end]:
            candidate = line.candidates[index]
            paths[index] = min(
                (
                    (cost + costs[index] + overlap_cost(line, last, candidate), [*path, index])
                    for last, (cost, path) in best[candidate.start].items()
                ),
                default=(math.inf, []),
                key=lambda path: path[0],
            )
        cheapest = sorted(paths, key=lambda last: paths[last][0])[:MAX_ENDINGS]
        best.append({last: paths[last] for last in cheapest})
    cost, path = min(best[-1].values(), default=(math.inf, []), key=lambda path: path[0])
    return path if cost < math.inf else []


def overlap_cost(line: Line, last: int | None, candidate: Candidate) -> float:
    """Return what it costs to read a candidate after another one whose box overlaps it, as strokes of a 4 do."""
    if last is None:
        return 0.0
    before, box = line.candidates[last].box, candidate.box
    overlap = (min(before.right, box.right) - max(before.left, box.left)) / min(before.width, box.width)
    return OVERLAP_COST * max(0.0, overlap - FREE_OVERLAP)


def reading_cost(probability: float, typicality: float) -> float:
    """Return what it costs to read a candidate as a digit, in nats.

    Half a digit often has a high probability, but a low typicality.
    """
    return DIGIT_COST - math.log(max(probability, 1e-9)) - math.log(max(typicality, 1e-9))
