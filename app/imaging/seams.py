"""Finds the seams along which touching digits can be cut apart."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_SEAMS = 14  # through one group of pieces
MIN_SEAM_DISTANCE = 0.12  # between two seams, in line heights
MIN_EDGE_DISTANCE = 0.2  # between a seam and the ends of its group: the narrowest digit, a 1
MAX_THICKNESS = 0.3  # of all strokes that a seam cuts, in line heights: more is a stroke cut lengthwise
WORK_HEIGHT_PX = 48  # the height at which seams are searched for
LEAN_COST = 0.1  # for each step of a seam to the side; a pixel of ink costs 1
CUT_COST = 0.12  # nats, for cutting a stroke that is as thick as a tenth of the line height


class Seam(NamedTuple):
    """A way to cut through a group from top to bottom."""

    columns: NDArray[np.int64]  # (h,): of each row, the first column on the right side
    cost: float  # nats


def find_seams(weight: NDArray[np.float32], line_height: float) -> list[Seam]:
    """Find the seams from top to bottom of ``(h, w)`` that cross the least ink, left to right.

    A seam may lean by up to 45 degrees, as in Avidan and Shamir 2007, "Seam Carving". One pass finds all of them: the
    cheapest seam through a column of the middle row consists of the cheapest path from there to the top and the
    cheapest path from there to the bottom.
    """
    height, width = weight.shape
    shrink = min(1.0, WORK_HEIGHT_PX / height)
    size = (max(3, round(width * shrink)), max(3, round(height * shrink)) | 1)  # an odd height has a middle row
    ink = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    middle = len(ink) // 2
    costs = find_cheapest_paths(np.stack([ink[: middle + 1], ink[: middle - 1 : -1]], axis=1))
    total = costs[-1].sum(axis=0) - ink[middle]  # (w,): of the seam through each column of the middle row
    rows = np.arange(height) * len(ink) // height
    seams = []
    for column in select_seam_columns(total, line_height * shrink):
        path = np.array([*trace_path(costs[:, 0], column), *trace_path(costs[:, 1], column)[-2::-1]])
        columns = ((path[rows] + 0.5) / shrink).round().astype(np.int64)
        thickness = float(total[column]) / (0.1 * line_height * shrink)  # in tenths of the line height
        seams.append(Seam(columns, CUT_COST * thickness))
    return seams


def select_seam_columns(total: NDArray[np.float32], line_height: float) -> list[int]:
    """Select up to ``MAX_SEAMS`` columns, the cheapest ones that are far enough from each other and from both ends.

    Args:
        total: ``(w,)``, the cost of the seam through each column.
        line_height: In columns.
    """
    distance, edge = (max(1, round(share * line_height)) for share in (MIN_SEAM_DISTANCE, MIN_EDGE_DISTANCE))
    inner = range(edge, len(total) - edge)
    selected: list[int] = []
    for column in np.argsort(total, kind="stable").tolist():
        if len(selected) == MAX_SEAMS or total[column] > MAX_THICKNESS * line_height:
            break
        if column in inner and all(abs(column - other) >= distance for other in selected):
            selected.append(column)
    return sorted(selected)


def find_cheapest_paths(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the cheapest path from the first row of two pictures ``(h, 2, w)`` to each of their pixels costs."""
    costs = np.full((len(ink), 2, ink.shape[2] + 2), np.inf, np.float32)  # with an edge that no path takes
    costs[0, :, 1:-1] = ink[0]
    for before, after, row in zip(costs, costs[1:], ink[1:], strict=False):
        aside = np.minimum(before[:, :-2], before[:, 2:]) + LEAN_COST
        np.add(np.minimum(aside, before[:, 1:-1]), row, out=after[:, 1:-1])
    return costs[:, :, 1:-1]


def trace_path(costs: NDArray[np.float32], column: int) -> list[int]:
    """Return the columns ``(h,)`` of the cheapest path to this column of the last row, by the costs ``(h, w)``."""
    path = [column]
    for before in costs[-2::-1].tolist():
        near = range(max(0, column - 1), min(len(before), column + 2))
        column = min(near, key=lambda each: before[each] + (LEAN_COST if each != column else 0.0))
        path.append(column)
    return path[::-1]
