"""The ten digits in three hands, drawn as on the pad of the page (app/http/static/pad.js)."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.support.pictures import Grey

PAD_PX = 280  # side of the picture that the page posts
PEN_WIDTH = 0.06  # of the pad's side; the pen stays as wide when a digit is drawn larger
USUAL_HEIGHT = 0.55  # of the pad's side, from the first row of the pen's path to the last; the ink is 0.61 high
MIDDLE = (0.5, 0.5)

PIXELS_PER_PIXEL = 4  # a finer grid makes the edges smooth: 16 of its pixels become one pixel of the picture
POINTS_PER_CURVE = 12  # straight pieces from one given point to the next

ONE_SIDE = 140  # pixels of the picture of a 1
ONE_HEIGHT = 80  # of its stem

Points = NDArray[np.float64]  # (N, 2): x to the right and y down


@dataclass(frozen=True)
class Hand:
    """How one person writes the ten digits.

    A stroke is text: "x,y x,y …" in hundredths of the digit's height, y down. The pen moves in a smooth curve through
    the points. A corner is the end of one stroke and the start of the next.
    """

    name: str
    slant: float  # the upper end leans to the right by this part of the height
    strokes: tuple[tuple[str, ...], ...]  # of each digit, from 0 to 9

    def __str__(self) -> str:
        return self.name


AMERICAN = Hand(
    "american",
    0.0,
    (
        ("32,0 12,10 0,48 10,90 31,100 52,90 62,52 52,10 32,0",),
        ("0,0 0,100",),
        ("0,24 8,7 28,0 49,8 54,28 42,54 22,77 0,100", "0,100 60,100"),
        ("2,13 22,0 45,5 51,24 40,41 18,47", "18,47 46,53 57,74 46,94 22,100 0,88"),
        ("42,0 0,64", "0,64 64,64", "42,0 42,100"),
        ("52,0 8,0", "8,0 5,44", "5,44 28,36 50,46 56,68 46,91 22,100 0,90"),
        ("42,0 19,20 4,48 1,74 10,93 29,100 49,92 56,74 47,57 29,51 11,59 2,74",),
        ("0,0 60,0", "60,0 22,100"),
        ("52,16 32,0 9,9 7,29 29,46 51,62 57,81 47,96 29,100 9,95 1,79 8,62 31,46 51,31 52,16",),
        ("54,27 43,6 24,0 6,11 2,32 15,49 36,48 54,27", "54,4 54,100"),
    ),
)
EUROPEAN = Hand(
    "european",
    0.06,
    (
        ("30,0 8,14 0,52 9,90 27,100 44,88 52,50 45,14 30,0",),
        ("0,66 25,36 46,0", "46,0 46,100"),
        ("0,22 12,4 32,0 48,12 47,34 31,62 2,98", "2,98 16,90 34,98 56,97"),
        ("0,0 52,0", "52,0 22,40", "22,40 46,46 56,69 46,92 22,100 0,90"),
        ("18,0 0,62", "0,62 66,60", "46,34 44,100"),
        ("10,0 6,44", "6,44 28,38 49,48 54,70 43,92 22,100 0,93", "10,0 60,0"),
        ("34,0 12,28 1,64 6,91 25,100 45,91 49,71 36,57 17,60 3,78",),
        ("0,0 62,0", "62,0 28,100", "16,53 62,49"),
        ("48,12 27,0 8,13 15,35 37,54 52,76 43,95 25,100 5,91 3,72 20,50 42,32 48,12",),
        ("50,22 38,3 19,1 3,15 2,35 14,49 33,46 49,26", "50,22 53,60 45,89 24,100 2,92"),
    ),
)
QUICK = Hand(
    "quick",
    0.24,
    (
        ("36,3 14,8 1,40 6,86 28,100 52,82 58,42 44,8 26,0",),
        ("2,0 0,52 4,100",),
        ("2,20 16,2 40,0 53,17 45,44 22,78 6,94 -8,92 -6,76 10,74 28,88 46,98 66,88",),
        ("2,10 24,0 46,8 47,29 27,45 20,47 29,47 50,57 54,80 36,98 14,100 0,90",),
        ("10,0 2,36 4,54 24,60 64,52", "50,20 46,60 47,100"),
        ("58,0 30,3 14,8 11,38 30,39 50,52 50,80 30,99 10,98 0,90",),
        ("30,0 12,26 1,62 7,92 27,100 46,88 47,68 31,60 14,68 6,82",),
        ("0,8 12,1 36,3 60,0", "60,0 44,34 32,66 30,100"),
        ("57,10 34,0 9,9 11,31 36,48 56,70 46,95 20,100 0,85 9,62 36,46 57,28 57,10",),
        ("60,16 44,0 18,3 2,24 6,46 26,52 48,34 60,10 57,48 46,100",),
    ),
)
HANDS = (AMERICAN, EUROPEAN, QUICK)


def draw_digit(
    digit: int, hand: Hand, size: float = 1.0, centre: tuple[float, float] = MIDDLE, canvas: int = PAD_PX
) -> Grey:
    """Draw a digit, black on white, with smooth edges and a round pen.

    Args:
        size: Times the usual height.
        centre: x and y of the middle of the digit, as fractions of the pad's side. What is outside is cut off.
        canvas: Side of the picture in pixels.

    Returns:
        The picture, (canvas, canvas).
    """
    side = canvas * PIXELS_PER_PIXEL
    fine = np.full((side, side), 255, np.uint8)
    paths = [np.rint(path * side).astype(np.int32) for path in place_paths(digit, hand, size, centre)]
    cv2.polylines(fine, paths, isClosed=False, color=(0,), thickness=round(PEN_WIDTH * side))
    return np.asarray(cv2.resize(fine, (canvas, canvas), interpolation=cv2.INTER_AREA), np.uint8)


def measure_ink(digit: int, hand: Hand, size: float) -> tuple[float, float]:
    """Return the width and the height of a digit's ink, as fractions of the pad's side."""
    path = np.concatenate(place_paths(digit, hand, size, MIDDLE))
    width, height = np.ptp(path, axis=0) + PEN_WIDTH
    return float(width), float(height)


def place_paths(digit: int, hand: Hand, size: float, centre: tuple[float, float]) -> list[Points]:
    """Return the path of the pen in each stroke, as fractions of the pad's side."""
    paths = [smooth(parse_points(stroke)) for stroke in hand.strokes[digit]]
    for path in paths:
        path[:, 0] -= hand.slant * path[:, 1]
    every = np.concatenate(paths)
    top_left, bottom_right = every.min(axis=0), every.max(axis=0)
    scale = size * USUAL_HEIGHT / (bottom_right[1] - top_left[1])
    return [(path - (top_left + bottom_right) / 2) * scale + centre for path in paths]


def parse_points(stroke: str) -> Points:
    """Return the points of a stroke, in hundredths of the digit's height."""
    return np.array([[float(number) for number in point.split(",")] for point in stroke.split()])


def smooth(points: Points) -> Points:
    """Return a smooth curve through points: a Catmull-Rom spline. Two points make a straight line."""
    before, after = 2 * points[0] - points[1], 2 * points[-1] - points[-2]
    p = np.concatenate([[before], points, [after]])
    t = np.linspace(0, 1, POINTS_PER_CURVE, endpoint=False)[:, None, None]
    p0, p1, p2, p3 = p[:-3], p[1:-2], p[2:-1], p[3:]
    curves = p1 + t / 2 * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))
    return np.concatenate([curves.swapaxes(0, 1).reshape(-1, 2), points[-1:]])


def draw_one(upstroke: float, angle: float, lean: float, pen: int) -> Grey:
    """Draw a 1 of two straight strokes, dark on white paper.

    Args:
        upstroke: Its length, as a share of the stem's height.
        angle: Degrees of the upstroke above the horizontal.
        lean: Of the stem, to the right, as a share of its height.
        pen: Pixels.
    """
    paper = np.full((ONE_SIDE * PIXELS_PER_PIXEL, ONE_SIDE * PIXELS_PER_PIXEL), 255, np.uint8)
    foot = np.array([ONE_SIDE / 2 - lean * ONE_HEIGHT / 2, ONE_SIDE / 2 + ONE_HEIGHT / 2])
    top = foot + np.array([lean * ONE_HEIGHT, -ONE_HEIGHT])
    start = top + upstroke * ONE_HEIGHT * np.array([-np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    path = np.round(np.array([start, top, foot]) * PIXELS_PER_PIXEL).astype(np.int32)
    cv2.polylines(paper, [path], isClosed=False, color=20, thickness=pen * PIXELS_PER_PIXEL, lineType=cv2.LINE_AA)
    return np.asarray(cv2.resize(paper, (ONE_SIDE, ONE_SIDE), interpolation=cv2.INTER_AREA))
