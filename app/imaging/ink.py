"""A grey picture -> the ink on it: paper flattened, strokes told from lines, specks and shadows, piece by piece.

Knows nothing of digits beyond that they are made of strokes. OpenCV is imported with this module, so whoever can do
without it (a picture that is 28x28 already) does not import it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.digit_image import Grey
from app.imaging.rectangle import Rectangle, joined

SMALL = 40  # pixels, the longer side of a picture that is taken to show one digit on even paper
SOFT = 0.3  # of full ink: past the grain of paper, short of the soft edge of a stroke
THUMB = 160  # pixels, the longer side of the picture that paper is estimated on
LARGEST = 1_280  # pixels, the longer side of what is worked on; more shows no more of a digit
MIN_CONTRAST = 24  # of 255: ink is darker than its paper by this much of it, or it is not ink
LEAST_LIGHT = np.uint8(80)  # of 255: what is less is too dark to take a ratio of
GRAIN, MOST_GRAIN = 5, 100.0  # standard deviations of the paper's grain that ink stands out by, and their end
LINE = 0.45  # of the picture's longer side: a piece as long may be a ruled line
EDGE = 0.01  # of it: a ruled line goes on beyond the picture, and ends no further from its edge than this
THIN = 12  # times as long as it is wide: a straight run of a printed line
THICKEST, FILLING = 0.3, 0.75  # of the longer side, of the shorter side: what is thicker is no stroke
MARGIN = 8  # pixels of paper around what is cut out
MOST_PIECES = 200  # of one picture; more is no writing
LEFT_OVER = 0.1  # of the shorter side: with less than this left, what looked like lines was the writing
SPECK = 0.05  # of the largest piece's longer side: a piece smaller than this is dirt


@dataclass(frozen=True)
class Piece:
    """Ink that hangs together."""

    label: int
    box: Rectangle
    area: int  # pixels


def around(pieces: Sequence[Piece]) -> Rectangle:
    return joined([piece.box for piece in pieces])


def stroke_width(core: NDArray[np.uint8]) -> float:
    """How wide the strokes are, in pixels: a bar's pixels are a quarter of its width from its edge, on average."""
    distance = cv2.distanceTransform(cv2.copyMakeBorder(core, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 3)
    inside = distance[distance > 0]
    return 4 * float(inside.mean()) - 1 if inside.size else 0.0


@dataclass(frozen=True)
class Cut:
    """Ink that was cut out, with ``MARGIN`` pixels of paper on each side."""

    strength: Grey  # (H, W)
    core: NDArray[np.uint8]  # (H, W): 1 where ink is, without its soft edges
    stroke: float  # pixels, the width of its strokes


@dataclass(frozen=True)
class Ink:
    """What is written on a picture, in pixels of what was worked on: ``scale`` of them to one of the picture."""

    strength: Grey  # (H, W): 0 is paper, 255 is full ink, whatever the lighting
    labels: NDArray[np.int32]  # (H, W): which piece a pixel belongs to; 0 is none
    pieces: list[Piece]
    inverted: bool  # it was dark on light
    scale: float

    def core(self, pieces: Sequence[Piece]) -> NDArray[np.uint8]:
        """Which pixels of the box around these pieces are theirs: 1 or 0."""
        labels = self.labels[around(pieces).slices]
        return np.isin(labels, [piece.label for piece in pieces]).astype(np.uint8)

    def cut(self, box: Rectangle, core: NDArray[np.uint8]) -> Cut:
        """Cut out what is ``core`` in a box, with its soft edges, and next to nothing of what is beside it."""
        core = cv2.copyMakeBorder(core, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_CONSTANT)
        stroke = stroke_width(core)
        reach = 2 * max(1, min(MARGIN, round(stroke / 2))) + 1
        near = cv2.dilate(core, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
        height, width = self.labels.shape
        inside = Rectangle(
            max(0, box.left - MARGIN),
            max(0, box.top - MARGIN),
            min(width, box.right + MARGIN),
            min(height, box.bottom + MARGIN),
        )
        strength = np.zeros_like(core)
        top, left = inside.top - box.top + MARGIN, inside.left - box.left + MARGIN
        strength[top : top + inside.height, left : left + inside.width] = self.strength[inside.slices]
        return Cut(strength * near, core, stroke)


def find_ink(grey: Grey) -> Ink:
    """Tell the ink of a picture ``uint8 (H, W)`` from its paper, and the writing from lines that were printed."""
    scale = min(1.0, LARGEST / max(grey.shape))
    grey = shrunk(grey, scale)
    if max(grey.shape) <= SMALL:
        return small_ink(grey)
    strength, inverted, grain = flatten(grey)
    level = threshold(strength, grain)
    core = (strength > level).astype(np.uint8)
    lines = printed_lines((strength > 0.6 * level).astype(np.uint8))
    labels, pieces = connected(core & ~lines)
    if not pieces or max(piece.box.size for piece in pieces) < LEFT_OVER * min(core.shape):
        labels, pieces = connected(core)  # a lone 1 can be as straight as a line
    return Ink(strength, labels, pieces, inverted, scale)


def shrunk(grey: Grey, factor: float) -> Grey:
    """Make a picture smaller by a factor of up to 1, averaging over areas; no side becomes shorter than a pixel."""
    if factor == 1:
        return grey
    size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def small_ink(grey: Grey) -> Ink:
    """The ink of a picture that is too small to tell lines and lighting on: all that stands out from its border."""
    edge = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    paper = float(np.median(edge))
    inverted = paper > 127
    apart = (paper - grey if inverted else grey - paper).clip(0).astype(np.float32)
    most = float(apart.max())
    if most < MIN_CONTRAST:
        return Ink(grey, np.zeros(grey.shape, np.int32), [], inverted, 1.0)
    strength = np.round(apart * (255 / most)).astype(np.uint8)
    core = strength > SOFT * 255
    rows, columns = np.flatnonzero(core.any(axis=1)), np.flatnonzero(core.any(axis=0))
    box = Rectangle(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Ink(strength, core.astype(np.int32), [Piece(1, box, int(core.sum()))], inverted, 1.0)


def flatten(grey: Grey) -> tuple[Grey, bool, float]:
    """Take the paper away, whatever the light on it: strength of the ink ``(H, W)``, whether it is dark, grain.

    Ink is what is thin: a morphological closing fills dark strokes with the paper beside them, an opening light ones,
    and either follows slopes of light and edges of shadows. Which of the two it is, is told by what differs most from
    the paper at large, a median over half of the picture. Ink takes away a share of the light that falls on the paper,
    so its strength is a ratio.
    """
    height, width = grey.shape
    shrink = min(1.0, THUMB / max(height, width))
    thumb = shrunk(grey, shrink)
    lighter, darker = morphed(thumb, cv2.MORPH_CLOSE), morphed(thumb, cv2.MORPH_OPEN)
    at_large = paper_at_large(thumb)
    dark = np.minimum(cv2.subtract(lighter, thumb), cv2.subtract(at_large, thumb)).astype(np.float64)
    light = np.minimum(cv2.subtract(thumb, darker), cv2.subtract(thumb, at_large)).astype(np.float64)
    inverted = bool((dark**2).sum() > (light**2).sum())
    paper = cv2.medianBlur(lighter if inverted else darker, 3)
    if shrink < 1:
        paper = cv2.resize(paper, (width, height), interpolation=cv2.INTER_LINEAR)
    whole = np.maximum(paper if inverted else cv2.bitwise_not(paper), LEAST_LIGHT)
    strength = cv2.divide(cv2.subtract(paper, grey) if inverted else cv2.subtract(grey, paper), whole, scale=255)
    step = max(1, max(height, width) // 100)
    grain = 1.48 * float(np.median(cv2.absdiff(grey, paper)[::step, ::step]))
    return strength, inverted, grain * 255 / max(float(np.median(whole[::step, ::step])), 1)


def morphed(thumb: Grey, operation: int) -> Grey:
    """Close or open with a square that no stroke fills. What reaches the edge of the picture goes on beyond it, or the
    corner of a shadow would be as thin as a stroke."""
    side = round(min(THICKEST * max(thumb.shape), FILLING * min(thumb.shape))) | 1
    padded = cv2.copyMakeBorder(thumb, side, side, side, side, cv2.BORDER_REPLICATE)
    return cv2.morphologyEx(padded, operation, np.ones((side, side), np.uint8))[side:-side, side:-side]


def paper_at_large(thumb: Grey) -> Grey:
    """What most of a thumbnail's wide neighbourhoods are: a median over half of it."""
    coarse = shrunk(thumb, 0.25) if min(thumb.shape) >= 16 else thumb
    half = max(1, max(coarse.shape) // 4)
    padded = cv2.copyMakeBorder(coarse, half, half, half, half, cv2.BORDER_REPLICATE)
    median = cv2.medianBlur(padded, 2 * half + 1)[half:-half, half:-half]
    return cv2.resize(median, thumb.shape[::-1], interpolation=cv2.INTER_LINEAR)


def threshold(strength: Grey, grain: float) -> float:
    """The strength at which ink begins: by Otsu's method (1979), over what stands out from the grain of the paper.

    Where faint lines and strong strokes stand on one paper it parts those; where there are strokes alone, it parts
    their cores from their soft edges.
    """
    least = max(MIN_CONTRAST, min(GRAIN * grain, MOST_GRAIN))
    counts = cv2.calcHist([strength], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    counts[: int(least)] = 0
    below, mass = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    above = below[-1] - below
    apart = mass / np.maximum(below, 1) - (mass[-1] - mass) / np.maximum(above, 1)
    between = below * above * apart**2
    if not between.any():  # one strength at the most
        return least
    return max(least, 0.9 * float(np.flatnonzero(between == between.max()).mean()))  # on clean pictures, a wide middle


def connected(core: NDArray[np.uint8]) -> tuple[NDArray[np.int32], list[Piece]]:
    """Gather ink into pieces, and leave specks out: at most ``MOST_PIECES``, the largest."""
    left, top, width, height = cv2.boundingRect(core)  # labelling is what costs most, and most of a picture is paper
    labels = np.zeros(core.shape, np.int32)
    if not width:
        return labels, []
    inner = core[top : top + height, left : left + width]
    _, labels[top : top + height, left : left + width], stats, _ = cv2.connectedComponentsWithStats(
        inner, connectivity=8
    )
    boxes, areas = stats[1:, :4] + np.array([left, top, 0, 0]), stats[1:, 4]
    sizes = boxes[:, 2:].max(axis=1)
    keep = np.sort(np.argsort(-areas, kind="stable")[:MOST_PIECES])
    keep = keep[sizes[keep] >= SPECK * sizes.max()]
    pieces = [
        Piece(label + 1, Rectangle(x, y, x + wide, y + tall), area)
        for label, (x, y, wide, tall), area in zip(
            keep.tolist(), boxes[keep].tolist(), areas[keep].tolist(), strict=True
        )
    ]
    return labels, pieces


def printed_lines(core: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Find the lines of ruled paper and the boxes of forms, less where a stroke crosses them: 1 or 0.

    A piece is one of those if it is long, or around others, and mostly of straight runs far longer than they are wide.
    """
    lines = np.zeros_like(core)
    _, coarse = connected(np.ascontiguousarray(core[::2, ::2]))
    if not lined(coarse, (core.shape[0] // 2, core.shape[1] // 2)):
        return lines
    labels, pieces = connected(core)
    longer = max(core.shape)
    for piece in lined(pieces, core.shape):
        mine = (labels[piece.box.slices] == piece.label).astype(np.uint8)
        thick = max(2, round(stroke_width(mine)))
        if piece.box.size < THIN * thick:
            continue
        across, down = straight(mine, thick), straight(np.ascontiguousarray(mine.T), thick).T
        if (across | down).sum() <= 0.5 * mine.sum():  # not a line or a frame: a stroke that a line runs through
            across, down = lasting(across, LINE * longer), lasting(down.T, LINE * longer).T
        lines[piece.box.slices] |= (across & ~crossed(mine, across, thick)) | (down & ~crossed(mine.T, down.T, thick).T)
    return lines


def lined(pieces: Sequence[Piece], shape: tuple[int, ...]) -> list[Piece]:
    """The pieces that are long and reach the edge of a picture ``(H, W)``, or that are around others."""
    edge = max(2, round(EDGE * max(shape)))
    inside = Rectangle(edge, edge, shape[1] - edge, shape[0] - edge)
    return [
        piece
        for piece in pieces
        if (piece.box.size >= LINE * max(shape) and not inside.holds(piece.box))
        or any(piece.box.holds(other.box) for other in pieces)
    ]


def straight(core: NDArray[np.uint8], thick: int) -> NDArray[np.uint8]:
    """What runs from left to right for long, and is hardly thicker than ``thick``."""
    edge = thick + 3  # of paper, or what is as high as its box would be thick beyond measure
    core = cv2.copyMakeBorder(core, edge, edge, 0, 0, cv2.BORDER_CONSTANT)
    run = cv2.morphologyEx(core, cv2.MORPH_OPEN, np.ones((1, THIN * thick), np.uint8))
    run &= ~cv2.morphologyEx(run, cv2.MORPH_OPEN, np.ones((edge, 1), np.uint8))
    return (cv2.dilate(run, np.ones((2 * (thick // 2) + 3,) * 2, np.uint8)) & core)[edge:-edge]


def lasting(runs: NDArray[np.uint8], least: float) -> NDArray[np.uint8]:
    """Of runs from left to right, those that are this long."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(runs), connectivity=8)
    chosen = stats[:, cv2.CC_STAT_WIDTH] >= least
    chosen[0] = False
    return chosen[labels].astype(np.uint8)


def crossed(core: NDArray[np.uint8], run: NDArray[np.uint8], thick: int) -> NDArray[np.uint8]:
    """Where a stroke crosses a run from left to right: there is ink above it and below it."""
    bare = np.ascontiguousarray(core & ~run)
    reach = 2 * thick + 2
    kernel = np.ones((reach, 1), np.uint8)
    above, below = cv2.dilate(bare, kernel, anchor=(0, 0)), cv2.dilate(bare, kernel, anchor=(0, reach - 1))
    return above & below


def ink_ratio(pixels: Grey) -> float:
    """Return the brightness of a picture as a share of a white one's. NumPy's own sum takes three times as long."""
    return float(cv2.sumElems(pixels)[0] / (255.0 * pixels.size))


def limit_opencv_threads(count: int) -> None:
    """Let OpenCV use so many threads for one picture. By default it uses every core."""
    cv2.setNumThreads(count)
