"""What is left of a frame is not ink. What a person writes around something is."""

import cv2
import numpy as np
import pytest

from app.imaging.frames import drop_frames
from app.imaging.pieces import Mask, Piece, find_pieces


def draw(thickness: int = 8) -> Mask:
    """Draw three zeros beside one another on a page ``(120, 300)``."""
    page = np.zeros((120, 300), np.uint8)
    for number in range(3):
        cv2.ellipse(page, (70 + 80 * number, 60), (20, 30), 0, 0, 360, 1, thickness)
    return page


def drop(page: Mask) -> tuple[list[Piece], list[Piece]]:
    """Return all pieces of a page, and those that are kept."""
    labels, pieces = find_pieces(page)
    return pieces, drop_frames(labels, pieces)


@pytest.mark.parametrize("teeth", [(30, 110, 190, 270), (30,), (270,)])
def test_a_frame_that_lacks_a_side_is_dropped(teeth: tuple[int, ...]) -> None:
    """It looks like a comb, or like an L. The digits stay."""
    page = draw()
    cv2.line(page, (30, 105), (270, 105), 1, 2)
    for x in teeth:
        cv2.line(page, (x, 20), (x, 105), 1, 2)
    pieces, kept = drop(page)
    assert (len(pieces), [piece.box.height for piece in kept]) == (4, [69, 69, 69])


def test_a_circle_of_the_same_pen_is_kept() -> None:
    """It is as thick as the digits, so it is writing, and a page that has it is not read completely."""
    page = draw()
    cv2.ellipse(page, (150, 60), (140, 55), 0, 0, 360, 1, 8)
    pieces, kept = drop(page)
    assert len(kept) == len(pieces) == 4


def test_a_digit_around_specks_is_kept() -> None:
    """What is much smaller than it is no writing."""
    page = draw()
    for x, y in ((62, 60), (78, 60), (70, 45)):
        cv2.circle(page, (x, y), 3, 1, -1)
    pieces, kept = drop(page)
    assert len(kept) == len(pieces) == 6


def test_a_large_digit_over_two_others_is_kept() -> None:
    """Such as a filled one, or one that is struck out, which is mostly ink."""
    page = draw(thickness=3)
    page[5:115, 20:200] = 1
    page[10:110, 30:190] = 0
    cv2.line(page, (20, 115), (200, 5), 1, 10)
    for left in (60, 130):
        cv2.line(page, (left, 20), (left, 50), 1, 2)
    pieces, kept = drop(page)
    assert len(kept) == len(pieces)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_pieces_are_kept(count: int) -> None:
    """Without two digits in it, nothing is a frame."""
    page = draw() * (np.arange(300) < 30 + 80 * count)
    pieces, kept = drop(page.astype(np.uint8))
    assert kept == pieces


def test_many_pieces_around_one_another_are_kept() -> None:
    """They are no form. To compare each with all others would take seconds."""
    page = np.zeros((300, 300), np.uint8)
    for margin in range(0, 60, 4):
        cv2.rectangle(page, (margin, margin), (299 - margin, 299 - margin), 1, 1)
    for x in (110, 180):
        cv2.circle(page, (x, 150), 28, 1, -1)
    pieces, kept = drop(page)
    assert kept == pieces
    few = page.copy()
    few[:50], few[250:], few[:, :50], few[:, 250:] = 0, 0, 0, 0  # two of the frames are left
    assert len(drop(few)[1]) == 2
