"""The ink of a picture -> the digits that may be on it, line by line, and the reading that the scores bear out.

Pieces that touch are cut wherever they might be, pieces that belong together are tried together, and the path through
these candidates that a network finds likeliest is what is read: over-segmentation with dynamic programming, as in
LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition". Knows nothing of networks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import CrowdedPictureError
from app.imaging.digit_image import Grey
from app.imaging.ink import Ink, Piece, around
from app.imaging.normalize import fitted
from app.imaging.rectangle import Rectangle, joined

MOST_CANDIDATES = 2_000  # of one picture; a number of 20 digits has about 400
MOST_PARTS = 14  # of one digit
WIDEST, FARTHEST = 1.6, 0.3  # of the line's height: the width of a digit, and the gaps within it
CUTS = 14  # at most, of one piece
SEAM_HEIGHT = 48  # pixels, the height at which a seam is looked for
TOO_MUCH = "There is far more on this picture than numbers of up to 20 digits; send the part that is to be read."
# Prices, in nats.
CUT_PRICE = 0.12  # for cutting through a stroke as thick as a tenth of the line's height
LEAN_PRICE = 0.1  # for each step aside, where a pixel of ink is 1
JOIN_PRICE = 0.1  # for joining what is apart
SKIP_PRICE = 4.0  # for passing over a piece as large as the line is high
DIGIT_PRICE = 0.2  # for each digit: of two ways that are as good, the one with fewer
TYPICALITY_WEIGHT = 3.0  # nats for a nat of doubt that it is a digit at all
GAP_PRICE = 0.8  # for a gap of the line's height within a digit


@dataclass(frozen=True)
class Part:
    """What stands between two neighbouring places where a line may be divided."""

    box: Rectangle
    core: NDArray[np.uint8]  # (H, W) of the box: 1 where it has ink
    group: int  # parts of one group hang together
    cut: float  # price of dividing before this part


@dataclass(frozen=True)
class Candidate:
    """What may be one digit: the parts from ``start`` to before ``end`` of a line."""

    start: int
    end: int
    box: Rectangle
    pixels: Grey  # (28, 28)
    price: float  # nats, of taking it as one and of dividing before it


@dataclass(frozen=True)
class Line:
    """One line of writing."""

    skips: list[float]  # of each part, the price of passing over it: dirt is small
    candidates: list[Candidate]


def propose(ink: Ink) -> list[Line]:
    """Find the lines of a picture and everything on them that may be a digit, top to bottom.

    Raises:
        CrowdedPictureError: there is far more on it than a number.
    """
    lines: list[Line] = []
    room = MOST_CANDIDATES
    for row in rows(ink.pieces):
        lines.append(line_of(ink, row, room))
        room -= len(lines[-1].candidates)
    return lines


def rows(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Gather pieces that stand on one line; what is too small to be a digit, and stands beside none, is left out."""
    if not pieces:
        return []
    tall = tallness(pieces)
    found: list[list[Piece]] = []
    for piece in sorted((p for p in pieces if p.box.height >= 0.5 * tall), key=lambda p: p.box.left):
        middle = (piece.box.top + piece.box.bottom) / 2
        near = [row for row in found if abs(middle - middle_of(row)) < 0.6 * tall]
        if near:
            min(near, key=lambda row: abs(middle - middle_of(row))).append(piece)
        else:
            found.append([piece])
    for piece in (p for p in pieces if p.box.height < 0.5 * tall):
        homes = [(min(piece.box.gap(other.box) for other in row), i) for i, row in enumerate(found)]
        gap, home = min(homes, default=(tall, 0))
        if gap < 0.3 * tall and piece.box.size > 0.15 * tall:
            found[home].append(piece)
    return sorted(found, key=lambda row: around(row).top)


def tallness(pieces: Sequence[Piece]) -> float:
    """The height of a digit, from the pieces that are not dirt: the median of those that hold most of the ink."""
    heights = sorted(((p.box.height, p.area) for p in pieces), reverse=True)
    total, seen = sum(area for _, area in heights), 0
    for height, area in heights:
        seen += area
        if seen >= total / 2:
            return float(height)
    return float(heights[-1][0])


def middle_of(row: Sequence[Piece]) -> float:
    last = row[-3:]  # a line that slopes is followed
    return sum(p.box.top + p.box.bottom for p in last) / (2 * len(last))


def line_of(ink: Ink, row: Sequence[Piece], room: int = MOST_CANDIDATES) -> Line:
    """Divide a line into parts and name every run of parts that may be one digit.

    Raises:
        CrowdedPictureError: there are more of those than there is ``room`` for.
    """
    tallest = max(piece.box.height for piece in row)
    tall = float(np.median([piece.box.height for piece in row if piece.box.height >= 0.5 * tallest]))
    parts = [part for number, group in enumerate(grouped(row)) for part in divided(ink, group, number, tall)]
    candidates: list[Candidate] = []
    for start in range(len(parts)):
        for end in range(start + 1, min(len(parts), start + MOST_PARTS) + 1):
            taken = parts[start:end]
            gaps = [b.box.left - a.box.right for a, b in pairwise(taken) if a.group != b.group]
            apart = sum(max(0, gap) for gap in gaps)
            box = joined([part.box for part in taken])
            if end > start + 1 and (box.width > WIDEST * tall or apart > FARTHEST * tall):
                break
            core = np.zeros((box.height, box.width), np.uint8)
            for part in taken:
                core[part.box.within(box)] |= part.core
            if len(candidates) == room:
                raise CrowdedPictureError(TOO_MUCH)
            if core.sum() >= 4:
                price = taken[0].cut + JOIN_PRICE * len(gaps) + GAP_PRICE * apart / tall
                candidates.append(Candidate(start, end, box, fitted(ink.cut(box, core)), price))
    skips = [SKIP_PRICE * part.box.size / tall if part.box.height < 0.5 * tall else math.inf for part in parts]
    return Line(skips, candidates)


def grouped(row: Sequence[Piece]) -> list[list[Piece]]:
    """Put together what stands above one another, left to right."""
    groups: list[list[Piece]] = []
    for piece in sorted(row, key=lambda p: p.box.left):
        if groups:
            box = around(groups[-1])
            overlap = min(box.right, piece.box.right) - piece.box.left
            if overlap > 0.6 * min(box.width, piece.box.width):
                groups[-1].append(piece)
                continue
        groups.append([piece])
    return groups


def divided(ink: Ink, group: Sequence[Piece], number: int, tall: float) -> list[Part]:
    """Divide a group along its thinnest seams, where it is wide enough to be of two digits."""
    box, core = around(group), ink.core(group)
    if box.width < 0.5 * tall:
        return [Part(box, core, number, 0.0)]
    before = np.zeros(box.height, int)
    column = np.arange(box.width)
    parts, price = [], 0.0
    for seam, next_price in [*seams(core, tall), (np.full(box.height, box.width), 0.0)]:
        mine = core * ((column >= before[:, None]) & (column < seam[:, None]))
        columns, lines = np.flatnonzero(mine.any(axis=0)), np.flatnonzero(mine.any(axis=1))
        if len(columns):
            left, top, right, bottom = columns[0], lines[0], columns[-1] + 1, lines[-1] + 1
            place = Rectangle(int(box.left + left), int(box.top + top), int(box.left + right), int(box.top + bottom))
            parts.append(Part(place, mine[top:bottom, left:right], number, price))
            price = next_price
        before = seam
    return parts


def seams(core: NDArray[np.uint8], tall: float) -> list[tuple[NDArray[np.int64], float]]:
    """The ways from top to bottom that cross least ink, left to right: the column in each row, and the price.

    A way may lean by up to 45 degrees, as in the seams of Avidan and Shamir 2007, "Seam Carving". All of them are
    found at once: the cheapest way through each column of the middle row is the cheapest from the top to there and
    from there to the bottom.
    """
    shrink = min(1.0, SEAM_HEIGHT / core.shape[0])
    size = (max(3, round(core.shape[1] * shrink)), max(3, round(core.shape[0] * shrink)))
    ink = cv2.resize(core.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    middle = len(ink) // 2
    down, from_above = cheapest(ink[: middle + 1])
    up, from_below = cheapest(ink[middle:][::-1])
    total = down + up - ink[middle]
    apart = max(1, round(0.12 * tall * shrink))
    found: list[int] = []
    for column in np.argsort(total, kind="stable").tolist():
        if apart <= column < size[0] - apart and all(abs(column - other) >= apart for other in found):
            found.append(column)
        if len(found) == CUTS:
            break
    ways = []
    for column in sorted(found):
        way = [*traced(from_above, column)[::-1], *traced(from_below, column)[1:]]
        rows = np.minimum((np.arange(core.shape[0]) * shrink).astype(int), len(way) - 1)
        ways.append(((np.array(way)[rows] + 0.5) / shrink, float(total[column]) / (0.1 * tall * shrink)))
    return [(way.round().astype(np.int64), CUT_PRICE * crossed) for way, crossed in ways]


def cheapest(ink: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """The price of the cheapest way from the first row to each column of the last, and where each step came from."""
    price = ink[0]
    steps = np.zeros(ink.shape, np.int8)
    edge = np.full(1, np.inf, np.float32)
    for row in range(1, len(ink)):
        from_left = np.concatenate([edge, price[:-1]]) + LEAN_PRICE
        from_right = np.concatenate([price[1:], edge]) + LEAN_PRICE
        best = np.minimum(np.minimum(from_left, from_right), price)
        steps[row] = np.where(price <= best, 0, np.where(from_left <= best, -1, 1))
        price = best + ink[row]
    return price, steps


def traced(steps: NDArray[np.int8], column: int) -> list[int]:
    """The columns of a way, from its end back to its beginning."""
    way = [column]
    for row in range(len(steps) - 1, 0, -1):
        column += int(steps[row, column])
        way.append(column)
    return way


def best_path(line: Line, scores: Sequence[tuple[float, float]]) -> list[int]:
    """Choose the candidates, as indices, that make up the line at the least price.

    Args:
        scores: of each candidate, the probability of the digit that it is read as, and its typicality.
    """
    best: list[tuple[float, list[int]]] = [(0.0, [])]
    for end, skip in enumerate(line.skips, start=1):
        ways = [(best[-1][0] + skip, best[-1][1])]
        for index, candidate in enumerate(line.candidates):
            if candidate.end == end:
                price, path = best[candidate.start]
                ways.append((price + candidate.price + doubt(*scores[index]), [*path, index]))
        best.append(min(ways, key=lambda way: way[0]))
    return best[-1][1] if best[-1][0] < math.inf else []


def doubt(probability: float, typicality: float) -> float:
    """What it costs to take a candidate for a digit. Typicality counts for more: half a digit is often surely read."""
    return DIGIT_PRICE - math.log(max(probability, 1e-9)) - TYPICALITY_WEIGHT * math.log(max(typicality, 1e-9))
