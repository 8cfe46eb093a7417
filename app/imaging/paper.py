"""Separates ink from paper in any light: estimate the paper, and measure the ink against it."""

from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.digit_image import Grey

MIN_CONTRAST = 24  # grey levels of 255 by which ink differs from its paper

THUMBNAIL_PX = 160  # the longer side of the thumbnail from which the paper is estimated
# The square that no stroke fills, as a share of the thumbnail's longer and of its shorter side: the smaller one counts.
# One digit may fill the picture. The digits of a page are smaller, and a smaller square follows the paper more closely:
# shadows, vignettes, the edge of a sheet on a desk.
STROKE_OF_DIGIT, STROKE_OF_PAGE = (0.3, 0.75), (0.1, 0.25)
DOMINANT_REACH = 0.83  # of the square, on each side: the neighbourhood in which most is paper
MIN_LIGHT = np.uint8(80)  # grey levels; darker paper is too dark to divide by

EDGE_STROKE = 0.1  # of the thumbnail's longer side: a stroke along the edge of the picture is at most this wide
MIN_RIM = 0.5  # of its contrast: by how much a stroke changes within five pixels at its rim; shade changes less

Shows = Literal["digit", "page"]
"""What a picture shows: one digit, which may fill it, or a page of numbers."""

NEAR = np.ones((3, 3), np.uint8)  # a pixel and those around it


class FlatPicture(NamedTuple):
    """A picture without its paper and the light on it."""

    strength: Grey  # (H, W): 0 is paper, 255 is full ink
    inverted: bool  # the ink was dark on light
    grain: float  # standard deviation of the paper, as strength


def flatten(grey: Grey, shows: Shows) -> FlatPicture:
    """Remove the paper from a picture ``(H, W)``, whatever the light on it.

    Ink absorbs a share of the light that falls on the paper, so its strength is a ratio.
    """
    paper, inverted = estimate_paper(grey, shows)
    light = np.maximum(paper if inverted else cv2.bitwise_not(paper), MIN_LIGHT)
    difference = cv2.subtract(paper, grey) if inverted else cv2.subtract(grey, paper)
    strength = cv2.divide(difference, light, scale=255)
    step = max(1, max(grey.shape) // 100)  # a sample of the pixels is enough for a median
    # The median distance from the paper is mostly that of paper: times 1.48, it is the standard deviation of noise.
    grain = 1.48 * float(np.median(cv2.absdiff(grey, paper)[::step, ::step]))
    return FlatPicture(strength, inverted, grain * 255 / max(float(np.median(light[::step, ::step])), 1))


def estimate_paper(grey: Grey, shows: Shows) -> tuple[Grey, bool]:
    """Estimate what the paper ``(H, W)`` looks like without ink, and whether the ink is dark.

    Ink is what is thin. A morphological closing fills dark strokes with the paper beside them, an opening does so with
    light strokes. Both follow gradients of light and edges of shadows. What differs most, at sharp edges, from the
    dominant level of the paper decides whether the ink is dark or light.
    """
    shrink_factor = min(1.0, THUMBNAIL_PX / max(grey.shape))
    thumbnail = shrink(grey, shrink_factor)
    of_longer, of_shorter = STROKE_OF_DIGIT if shows == "digit" else STROKE_OF_PAGE
    side = round(min(of_longer * max(thumbnail.shape), of_shorter * min(thumbnail.shape))) | 1
    without_dark, without_light = (remove_strokes(thumbnail, dark, side) for dark in (True, False))
    if shrink_factor < 1:
        # The thumbnail is too coarse to tell where the edge of a shadow is: near it, the level nearer to ink counts.
        without_dark, without_light = cv2.erode(without_dark, NEAR), cv2.dilate(without_light, NEAR)
    dominant, sharpness = estimate_dominant_level(thumbnail, side), measure_sharpness(thumbnail)
    dark = np.minimum(cv2.subtract(without_dark, thumbnail), cv2.subtract(dominant, thumbnail))
    light = np.minimum(cv2.subtract(thumbnail, without_light), cv2.subtract(thumbnail, dominant))
    contrast_of_dark, contrast_of_light = float((dark * sharpness).sum()), float((light * sharpness).sum())
    if contrast_of_dark == contrast_of_light:  # nothing that is thin, except perhaps along the edge
        inverted = float(np.median(dominant)) > 127
    else:
        inverted = contrast_of_dark > contrast_of_light
    paper = without_dark if inverted else without_light
    if shows == "digit":
        paper = uncover_edge(thumbnail, paper, inverted, sharpness)
    paper = cv2.medianBlur(paper, 3)
    if shrink_factor < 1:
        paper = cv2.resize(paper, grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return paper, inverted


def measure_sharpness(thumbnail: Grey) -> NDArray[np.float32]:
    """Return how steep a thumbnail is at each pixel, in grey levels, beyond what its grain explains.

    Ink has edges; light and shade change slowly.
    """
    steepness = cv2.morphologyEx(thumbnail, cv2.MORPH_GRADIENT, NEAR).astype(np.float32)
    return np.maximum(steepness - 2 * np.median(steepness), 0)


def shrink(grey: Grey, factor: float) -> Grey:
    """Shrink a picture by a factor of up to 1, averaging over areas. Each side keeps at least one pixel."""
    if factor == 1:
        return grey
    size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def remove_strokes(thumbnail: Grey, dark: bool, side: int) -> Grey:
    """Remove dark or light strokes, with a square that none fills; ``side`` is in pixels.

    What reaches the edge of the picture is assumed to continue beyond it. Otherwise the corner of a shadow would be as
    thin as a stroke.
    """
    padded = cv2.copyMakeBorder(thumbnail, side, side, side, side, cv2.BORDER_REPLICATE)
    square = np.ones((side, side), np.uint8)
    return cv2.morphologyEx(padded, cv2.MORPH_CLOSE if dark else cv2.MORPH_OPEN, square)[side:-side, side:-side]


def uncover_edge(thumbnail: Grey, paper: Grey, dark: bool, sharpness: NDArray[np.float32]) -> Grey:
    """Return the paper below strokes that lie along the edge of a thumbnail, like the bar of a large 7.

    ``remove_strokes`` took them for shade that continues beyond the picture. But a stroke ends sharply, and more ink
    hangs on it, unless it is all there is.
    """
    side = round(EDGE_STROKE * max(thumbnail.shape)) | 1
    beyond = cv2.copyMakeBorder(thumbnail, side, side, side, side, cv2.BORDER_CONSTANT, value=255 if dark else 0)
    uncovered_paper = remove_strokes(beyond, dark, side)[side:-side, side:-side]
    contrast = cv2.subtract(uncovered_paper, paper) if dark else cv2.subtract(paper, uncovered_paper)
    mask = (contrast >= MIN_CONTRAST).astype(np.uint8)
    if not mask.any():
        return paper
    other_ink = (cv2.absdiff(paper, thumbnail) >= MIN_CONTRAST) & (mask == 0)
    inner = cv2.erode(mask, NEAR, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    nearby_sharpness = cv2.dilate(sharpness, NEAR)
    count, labels = cv2.connectedComponents(mask, connectivity=8)
    for label in range(1, count):
        stroke = labels == label
        rim = stroke & (inner == 0)
        with_surroundings = cv2.dilate(stroke.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        if (
            rim.any()
            and np.median(nearby_sharpness[rim]) >= MIN_RIM * np.median(contrast[stroke])
            and ((other_ink & with_surroundings).any() or not (other_ink & ~with_surroundings).any())
        ):
            paper = np.where(with_surroundings, uncovered_paper, paper)
    return paper


def estimate_dominant_level(thumbnail: Grey, side: int) -> Grey:
    """Return the median grey level around each pixel of a thumbnail: mostly paper."""
    coarse = shrink(thumbnail, 0.25) if min(thumbnail.shape) >= 16 else thumbnail
    radius = max(1, round(DOMINANT_REACH * side * max(coarse.shape) / max(thumbnail.shape)))
    padded = cv2.copyMakeBorder(coarse, radius, radius, radius, radius, cv2.BORDER_REPLICATE)
    median = cv2.medianBlur(padded, 2 * radius + 1)[radius:-radius, radius:-radius]
    return cv2.resize(median, thumbnail.shape[::-1], interpolation=cv2.INTER_LINEAR)
