"""Finds the ink in a grey picture: separate it from the paper, drop printed lines and specks, gather it in pieces.

Knows nothing of digits, except that they consist of strokes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.digit_image import Grey
from app.imaging.frames import drop_frames
from app.imaging.paper import MIN_CONTRAST, Shows, flatten, shrink
from app.imaging.pieces import Mask, Piece, enclose_pieces, find_pieces, measure_stroke_width
from app.imaging.printed_lines import edge_width, find_printed_lines
from app.imaging.rectangle import Rectangle
from app.imaging.strokes import InkLevels, extend_strokes, find_levels, mark_strokes

MAX_WORK_PX = 1_280  # the longer side of the picture that is worked on; more pixels show no more of a digit
SMALL_PICTURE_PX = 40  # the longer side; a picture up to this size is assumed to show one digit on even paper
INK_SHARE = 0.3  # of full ink: above the grain of paper, below the soft edge of a stroke
MIN_LEFT_SHARE = 0.1  # of the shorter side: if all pieces without the lines are smaller, the lines were the writing
MARGIN_PX = 8  # paper on each side of ink that is cut out


@dataclass(frozen=True)
class CutOut:
    """Ink that was cut out of a picture, with ``MARGIN_PX`` of paper on each side."""

    strength: Grey  # (H, W): 0 is paper, 255 is full ink
    mask: Mask  # (H, W): 1 where there is ink, without its soft edges
    stroke_width: float  # pixels


@dataclass(frozen=True)
class Ink:
    """The ink of a picture. All pixels are those of the picture that was worked on, ``scale`` times as large."""

    strength: Grey  # (H, W): 0 is paper, 255 is full ink, whatever the light
    labels: NDArray[np.int32]  # (H, W): which piece a pixel belongs to; 0 is none
    pieces: list[Piece]
    inverted: bool  # it was dark on light
    scale: float  # up to 1

    def mask(self, pieces: Sequence[Piece]) -> Mask:
        """Mark the pixels of these pieces in the box that encloses them."""
        labels = self.labels[enclose_pieces(pieces).slices]
        return np.isin(labels, [piece.label for piece in pieces]).astype(np.uint8)

    def turn(self, quarter_turns: int) -> "Ink":
        """Return the same ink, turned clockwise."""
        height, width = self.labels.shape
        return replace(
            self,
            strength=np.ascontiguousarray(np.rot90(self.strength, -quarter_turns)),
            labels=np.ascontiguousarray(np.rot90(self.labels, -quarter_turns)),
            pieces=[replace(piece, box=piece.box.turn(quarter_turns, width, height)) for piece in self.pieces],
        )

    def cut_out(self, box: Rectangle, mask: Mask) -> CutOut:
        """Cut the ink that is marked in a box out of the picture.

        It keeps its soft edges. Of ink beside it, hardly anything is included.
        """
        stroke_width = measure_stroke_width(mask)
        mask = cv2.copyMakeBorder(mask, MARGIN_PX, MARGIN_PX, MARGIN_PX, MARGIN_PX, cv2.BORDER_CONSTANT)
        reach = 2 * max(1, min(MARGIN_PX, round(stroke_width / 2))) + 1
        with_edges = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
        outer = box.grow(MARGIN_PX)
        height, width = self.labels.shape
        visible = outer.clip(width, height)
        strength = np.zeros(mask.shape, np.uint8)
        strength[visible.slices_in(outer)] = self.strength[visible.slices]
        return CutOut(strength * with_edges, mask, stroke_width)


def find_ink(grey: Grey, shows: Shows) -> Ink:
    """Find the ink of a picture ``uint8 (H, W)``, without paper, printed lines and specks.

    Args:
        grey: The picture.
        shows: What it shows.
    """
    scale = min(1.0, MAX_WORK_PX / max(grey.shape))
    grey = shrink(grey, scale)
    if max(grey.shape) <= SMALL_PICTURE_PX:
        return find_ink_of_small_picture(grey)
    strength, inverted, grain = flatten(grey, shows)
    levels = find_levels(strength, grain, shows)
    labels, pieces = find_pieces((strength > levels.faint).astype(np.uint8))
    lines = find_printed_lines(labels, pieces)
    if lines.any():
        # The levels are found anew without the lines: next to a black frame, pencil would look like paper.
        rest = np.where(lines, 0, strength).astype(np.uint8)
        rest_levels = find_levels(rest, grain, shows)
        faint = find_pieces((rest > rest_levels.faint).astype(np.uint8))
        rest_labels, strokes = find_strokes(rest, rest_levels, *faint)
        if strokes and max(piece.box.longer_side for piece in strokes) >= MIN_LEFT_SHARE * min(rest.shape):
            return Ink(rest, rest_labels, strokes, inverted, scale)
    labels, pieces = find_strokes(strength, levels, labels, pieces)
    return Ink(strength, labels, pieces, inverted, scale)


def find_strokes(
    strength: Grey, levels: InkLevels, labels: NDArray[np.int32], pieces: Sequence[Piece]
) -> tuple[NDArray[np.int32], list[Piece]]:
    """Find the pieces of strong ink, with the faint ink that continues them, and their labels ``(H, W)``.

    Args:
        strength: Of the ink, ``(H, W)``.
        levels: From which it counts.
        labels: Of the pieces of faint and strong ink, ``(H, W)``.
        pieces: These pieces.
    """
    labels, strokes = find_pieces(mark_strokes(strength > levels.strong, labels, pieces))
    strokes = [piece for piece in strokes if not is_along_edge(piece.box, strength.shape)]
    if strokes and levels.faintest < levels.faint:
        faintest = find_pieces((strength > levels.faintest).astype(np.uint8))
        labels, strokes = find_pieces(extend_strokes(labels, strokes, *faintest))
    return labels, drop_frames(labels, strokes)


def is_along_edge(box: Rectangle, shape: tuple[int, ...]) -> bool:
    """Return whether a piece is no more than a sliver along the edge of a picture ``(H, W)``: something beside it."""
    (height, width), edge = shape, edge_width(shape)
    return box.right <= edge or box.left >= width - edge or box.bottom <= edge or box.top >= height - edge


def find_ink_of_small_picture(grey: Grey) -> Ink:
    """Find the ink of a picture that is too small to show lines or lighting: everything that differs from its border.

    All of it is one piece.
    """
    border = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    paper = float(np.median(border))
    inverted = paper > 127
    difference = (paper - grey if inverted else grey - paper).clip(0).astype(np.float32)
    contrast = float(difference.max())
    if contrast < MIN_CONTRAST:
        return Ink(grey, np.zeros(grey.shape, np.int32), [], inverted, 1.0)
    strength = np.round(difference * (255 / contrast)).astype(np.uint8)
    mask = strength > INK_SHARE * 255
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = Rectangle(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Ink(strength, mask.astype(np.int32), [Piece(1, box, int(mask.sum()))], inverted, 1.0)


def ink_ratio(pixels: Grey) -> float:
    """Return the brightness of a picture as a share of a white picture's. NumPy's sum takes three times as long."""
    return float(cv2.sumElems(pixels)[0] / (255.0 * pixels.size))


def limit_opencv_threads(count: int) -> None:
    """Let OpenCV use this many threads for one picture. By default it uses every core."""
    cv2.setNumThreads(count)
