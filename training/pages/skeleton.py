"""The strokes of a written digit: its ink thinned to lines one pixel wide, and the lines traced.

Thinning follows Zhang and Suen (1984, "A fast parallel algorithm for thinning digital patterns").
"""

from collections import defaultdict

import cv2
import numpy as np
from numpy.typing import NDArray

Stroke = NDArray[np.float64]  # (N, 2): x and y along the path of the pen
Pixel = tuple[int, int]  # row and column

MNIST_HEIGHT = 20  # pixels, the longer side of a digit of MNIST
ENLARGEMENT = 4  # so that the lines are smooth
INK_LEVEL = 110  # of 255; what is brighter is ink
SHORTEST_BRANCH = 8  # enlarged pixels; thinning leaves shorter branches where the edge of a stroke is rough
NEIGHBOURS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))  # clockwise from above


def trace_strokes(digit: NDArray[np.uint8]) -> list[Stroke]:
    """Trace a digit of MNIST ``(28, 28)``. One unit is the height of a digit of MNIST; the middle is (0, 0)."""
    ink = enlarge(digit)
    paths, side = trace_paths(thin(ink)), len(ink)
    ends = [end for path in paths for end in (path[0], path[-1])]
    strokes = []
    for path in paths:
        is_free = ends.count(path[0]) == 1 or ends.count(path[-1]) == 1
        if len(paths) > 1 and is_free and len(path) < SHORTEST_BRANCH:
            continue
        points = (np.array(path, float)[:, ::-1] + 0.5) / side - 0.5
        strokes.append(smooth(points * (digit.shape[0] / MNIST_HEIGHT), 4))
    return strokes


def enlarge(digit: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Enlarge a digit smoothly, and return where it has ink."""
    side = digit.shape[0] * ENLARGEMENT
    large: NDArray[np.float32] = cv2.resize(digit.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return large > INK_LEVEL


def thin(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Thin ink ``(H, W)`` to lines one pixel wide that are connected as it is."""
    ink = np.pad(ink, 1)
    changed = True
    while changed:
        changed = False
        for first in (True, False):
            around = [np.roll(ink, (-row, -column), (0, 1)) for row, column in NEIGHBOURS]
            up, _, right, _, down, _, left, _ = around
            count = sum(each.astype(np.uint8) for each in around)
            starts = sum((~around[i] & around[(i + 1) % 8]).astype(np.uint8) for i in range(8))
            if first:
                is_edge = ~(up & right & down) & ~(right & down & left)
            else:
                is_edge = ~(up & right & left) & ~(up & down & left)
            removable = ink & (count >= 2) & (count <= 6) & (starts == 1) & is_edge
            changed = changed or bool(removable.any())
            ink = ink & ~removable
    return ink[1:-1, 1:-1]


def trace_paths(lines: NDArray[np.bool_]) -> list[list[Pixel]]:
    """Follow thin lines from end to end, from end to junction, and around loops. Each part is in one path."""
    links = link_pixels(lines)
    paths = []
    nodes = [pixel for pixel, linked in links.items() if len(linked) != 2]
    for start in [*nodes, *links]:  # after the nodes, what is left are loops without one
        while links[start]:
            path = [start]
            while True:
                here = path[-1]
                if not links[here]:
                    break
                following = links[here].pop()
                links[following].discard(here)
                path.append(following)
                if following in nodes or following == start:
                    break
            paths.append(path)
    return paths


def link_pixels(lines: NDArray[np.bool_]) -> dict[Pixel, set[Pixel]]:
    """Link each pixel of thin lines to its neighbours; to a diagonal one only if no straight way leads there."""
    pixels = {(int(row), int(column)) for row, column in np.argwhere(lines)}
    links: dict[Pixel, set[Pixel]] = defaultdict(set)
    for row, column in sorted(pixels):
        for down, right in NEIGHBOURS:
            other = (row + down, column + right)
            is_corner = down and right and ((row + down, column) in pixels or (row, column + right) in pixels)
            if other in pixels and not is_corner:
                links[row, column].add(other)
    return links


def smooth(points: Stroke, spread: float) -> Stroke:
    """Average points with their neighbours along the path, about ``spread`` to either side. The ends stay."""
    if len(points) < 3:
        return points
    reach = int(np.ceil(2 * spread))
    weights = np.exp(-((np.arange(-reach, reach + 1) / spread) ** 2) / 2)
    weights /= weights.sum()
    # Beyond an end, the path goes on as its point reflection, which keeps the end where it is.
    before = 2 * points[0] - points[1 : reach + 1][::-1]
    after = 2 * points[-1] - points[-reach - 1 : -1][::-1]
    longer = np.concatenate([before, points, after])
    missing = len(points) + 2 * reach - len(longer)
    longer = np.pad(longer, ((missing // 2, missing - missing // 2), (0, 0)), mode="edge")
    return np.stack([np.convolve(longer[:, axis], weights, "valid") for axis in (0, 1)], axis=1)
