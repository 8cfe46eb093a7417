"""Finds the seams along which touching digits can be cut apart."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_SEAMS = 14  # through one group of pieces
MIN_SEAM_DISTANCE = 0.12  # between two seams, in line heights
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
    shrink = min(1.0, WORK_HEIGHT_PX / weight.shape[0])
    size = (max(3, round(weight.shape[1] * shrink)), max(3, round(weight.shape[0] * shrink)))
    ink = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    middle = len(ink) // 2
    cost_above, steps_above = find_cheapest_paths(ink[: middle + 1])
    cost_below, steps_below = find_cheapest_paths(ink[middle:][::-1])
    total = cost_above + cost_below - ink[middle]  # (w,): of the seam through each column of the middle row
    seams = []
    for column in select_seam_columns(total, max(1, round(MIN_SEAM_DISTANCE * line_height * shrink))):
        path = [*trace_path(steps_above, column)[::-1], *trace_path(steps_below, column)[1:]]
        rows = np.minimum((np.arange(weight.shape[0]) * shrink).astype(int), len(path) - 1)
        columns = ((np.array(path)[rows] + 0.5) / shrink).round().astype(np.int64)
        thickness = float(total[column]) / (0.1 * line_height * shrink)  # in tenths of the line height
        seams.append(Seam(columns, CUT_COST * thickness))
    return seams


def select_seam_columns(total: NDArray[np.float32], min_distance: int) -> list[int]:
    """Select up to ``MAX_SEAMS`` columns, the cheapest ones that are far enough from each other and from both ends.

    Args:
        total: ``(w,)``, the cost of the seam through each column.
        min_distance: In columns.
    """
    selected: list[int] = []
    for column in np.argsort(total, kind="stable").tolist():
        if min_distance <= column < len(total) - min_distance and all(
            abs(column - other) >= min_distance for other in selected
        ):
            selected.append(column)
        if len(selected) == MAX_SEAMS:
            break
    return sorted(selected)


def find_cheapest_paths(ink: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Find the cheapest path from the first row of ``(h, w)`` to each column of the last row.

    Returns:
        The cost of each path ``(w,)``, and for each pixel ``(h, w)`` the step back to the column that the path came
        from: -1, 0 or 1.
    """
    cost = ink[0]
    steps = np.zeros(ink.shape, np.int8)
    edge = np.full(1, np.inf, np.float32)
    for row in range(1, len(ink)):
        from_left = np.concatenate([edge, cost[:-1]]) + LEAN_COST
        from_right = np.concatenate([cost[1:], edge]) + LEAN_COST
        best = np.minimum(np.minimum(from_left, from_right), cost)
        steps[row] = np.where(cost <= best, 0, np.where(from_left <= best, -1, 1))
        cost = best + ink[row]
    return cost, steps


def trace_path(steps: NDArray[np.int8], column: int) -> list[int]:
    """Return the columns of a path, from its end in the last row back to its start in the first."""
    path = [column]
    for row in range(len(steps) - 1, 0, -1):
        column += int(steps[row, column])
        path.append(column)
    return path
