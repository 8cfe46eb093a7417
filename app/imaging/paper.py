"""Separates ink from paper in any light: estimate the paper, measure the ink against it, find where ink begins."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.digit_image import Grey

MIN_CONTRAST = 24  # grey levels of 255 by which ink differs from its paper

THUMBNAIL_PX = 160  # the longer side of the thumbnail from which the paper is estimated
# The square that no stroke fills, as a share of the thumbnail's longer and of its shorter side: the smaller one counts.
MAX_STROKE_OF_LONGER, MAX_STROKE_OF_SHORTER = 0.3, 0.75
EDGE_DEPTH = 0.1  # of the thumbnail's longer side: a stroke along the edge of the picture is thinner than this
MIN_RIM = 0.5  # of its contrast: by how much a stroke changes within three pixels at its rim; shade changes less
MIN_LIGHT = np.uint8(80)  # grey levels; darker paper is too dark to divide by


class FlatPicture(NamedTuple):
    """A picture without its paper and the light on it."""

    strength: Grey  # (H, W): 0 is paper, 255 is full ink
    inverted: bool  # the ink was dark on light
    grain: float  # standard deviation of the paper, as strength


def flatten(grey: Grey) -> FlatPicture:
    """Remove the paper from a picture ``(H, W)``, whatever the light on it.

    Ink absorbs a share of the light that falls on the paper, so its strength is a ratio.
    """
    paper, inverted = estimate_paper(grey)
    light = np.maximum(paper if inverted else cv2.bitwise_not(paper), MIN_LIGHT)
    difference = cv2.subtract(paper, grey) if inverted else cv2.subtract(grey, paper)
    strength = cv2.divide(difference, light, scale=255)
    step = max(1, max(grey.shape) // 100)  # a sample of the pixels is enough for a median
    # The median distance from the paper is mostly that of paper: times 1.48, it is the standard deviation of noise.
    grain = 1.48 * float(np.median(cv2.absdiff(grey, paper)[::step, ::step]))
    return FlatPicture(strength, inverted, grain * 255 / max(float(np.median(light[::step, ::step])), 1))


def estimate_paper(grey: Grey) -> tuple[Grey, bool]:
    """Estimate what the paper ``(H, W)`` looks like without ink, and whether the ink is dark.

    Ink is what is thin. A morphological closing fills dark strokes with the paper beside them, an opening does so with
    light strokes. Both follow gradients of light and edges of shadows. What differs most from the dominant level of the
    paper decides whether the ink is dark or light.
    """
    shrink_factor = min(1.0, THUMBNAIL_PX / max(grey.shape))
    thumbnail = shrink(grey, shrink_factor)
    without_dark, without_light = remove_strokes(thumbnail, cv2.MORPH_CLOSE), remove_strokes(thumbnail, cv2.MORPH_OPEN)
    dominant = estimate_dominant_level(thumbnail)
    dark = np.minimum(cv2.subtract(without_dark, thumbnail), cv2.subtract(dominant, thumbnail)).astype(np.float64)
    light = np.minimum(cv2.subtract(thumbnail, without_light), cv2.subtract(thumbnail, dominant)).astype(np.float64)
    sharpness = measure_sharpness(thumbnail)
    inverted = bool((dark * sharpness).sum() > (light * sharpness).sum())
    paper = without_dark if inverted else without_light
    paper = uncover_edge(thumbnail, paper, cv2.MORPH_CLOSE if inverted else cv2.MORPH_OPEN, sharpness)
    paper = cv2.medianBlur(paper, 3)
    if shrink_factor < 1:
        paper = cv2.resize(paper, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return paper, inverted


def measure_sharpness(thumbnail: Grey) -> NDArray[np.float64]:
    """Return how steep a thumbnail is at each pixel, in grey levels, beyond what its grain explains.

    Ink has edges; light and shade change slowly.
    """
    steepness = cv2.morphologyEx(thumbnail, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).astype(np.float64)
    return np.maximum(steepness - 2 * np.median(steepness), 0)


def shrink(grey: Grey, factor: float) -> Grey:
    """Shrink a picture by a factor of up to 1, averaging over areas. Each side keeps at least one pixel."""
    if factor == 1:
        return grey
    size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def remove_strokes(thumbnail: Grey, operation: int) -> Grey:
    """Remove dark strokes (``cv2.MORPH_CLOSE``) or light ones (``cv2.MORPH_OPEN``), with a square that none fills.

    What reaches the edge of the picture is assumed to continue beyond it. Otherwise the corner of a shadow would be as
    thin as a stroke.
    """
    height, width = thumbnail.shape
    side = round(min(MAX_STROKE_OF_LONGER * max(height, width), MAX_STROKE_OF_SHORTER * min(height, width))) | 1
    padded = cv2.copyMakeBorder(thumbnail, side, side, side, side, cv2.BORDER_REPLICATE)
    return cv2.morphologyEx(padded, operation, np.ones((side, side), np.uint8))[side:-side, side:-side]


def uncover_edge(thumbnail: Grey, paper: Grey, operation: int, sharpness) -> Grey:
    """Return the paper below strokes that lie along the edge of a thumbnail, like the bar of a large 7.

    ``remove_strokes`` took them for shade that continues beyond the picture. A stroke ends sharply, shade does not.
    """
    depth = round(EDGE_DEPTH * max(thumbnail.shape))
    if depth >= min(thumbnail.shape):
        return paper
    mirrored = cv2.copyMakeBorder(thumbnail, depth, depth, depth, depth, cv2.BORDER_REFLECT)
    without = remove_strokes(mirrored, operation)[depth:-depth, depth:-depth]
    uncovered = cv2.absdiff(without, paper)
    mask = (uncovered >= MIN_CONTRAST).astype(np.uint8)
    if not mask.any():
        return paper
    count, labels = cv2.connectedComponents(mask, connectivity=8)
    rim = mask - cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
    result = paper.copy()
    for label in range(1, count):
        component = labels == label
        at_rim = component & (rim > 0)
        if at_rim.any() and np.median(sharpness[at_rim]) >= MIN_RIM * np.median(uncovered[component]):
            grown = cv2.dilate(component.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            result[grown] = without[grown]
    return result


def estimate_dominant_level(thumbnail: Grey) -> Grey:
    """Return the median grey level around each pixel of a thumbnail, over half of the picture: mostly paper."""
    coarse = shrink(thumbnail, 0.25) if min(thumbnail.shape) >= 16 else thumbnail
    radius = max(1, max(coarse.shape) // 4)
    padded = cv2.copyMakeBorder(coarse, radius, radius, radius, radius, cv2.BORDER_REPLICATE)
    median = cv2.medianBlur(padded, 2 * radius + 1)[radius:-radius, radius:-radius]
    return cv2.resize(median, thumbnail.shape[::-1], interpolation=cv2.INTER_LINEAR)
