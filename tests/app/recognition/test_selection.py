"""Which way up a page is, with scores that are made up."""

import asyncio

import numpy as np
import pytest

from app.errors import CrowdedPictureError, DeadlineError, DigitserveError
from app.imaging.decode import Picture
from app.imaging.digit_image import Grey
from app.imaging.ink import find_ink
from app.imaging.segmentation import propose_lines
from app.inference.model_folder import Thresholds
from app.inference.scores import Score
from app.recognition.page import Page, turn_page
from app.recognition.selection import Selection, find_digits

THRESHOLDS = Thresholds(confidence=0.9, typicality=0.9)
GOOD, BAD = (Score([0.01, 0.99], 0.99), Score([0.5, 0.5], 0.1))


@pytest.fixture
def page() -> Page:
    """A page of five bars that lie above one another."""
    grey = np.full((400, 300), 220, np.uint8)
    for top in range(40, 390, 70):
        grey[top : top + 10, 100:160] = 40
    ink = find_ink(grey, "page")
    return Page(Picture("PNG", 300, 400, grey), 0, ink, propose_lines(ink))


def find(
    page: Page, good_turns: set[int], errors: dict[int, DigitserveError] | None = None
) -> tuple[Selection, list[int]]:
    """Find the digits if only these orientations have good scores, and list those that were tried."""
    tried = [0]

    async def score(pictures: list[Grey]) -> list[Score]:
        return [GOOD if tried[-1] in good_turns else BAD for _ in pictures]

    async def turn(upright: Page, quarter_turns: int) -> Page:
        tried.append(quarter_turns)
        if error := (errors or {}).get(quarter_turns):
            raise error
        return turn_page(upright, quarter_turns)

    return asyncio.run(find_digits(page, THRESHOLDS, score, turn)), tried


def test_a_page_is_turned_only_if_its_digits_are_poor(page: Page) -> None:
    """With good scores it stays upright, and nothing else is tried."""
    selection, tried = find(page, {0, 1})
    assert (selection.page.quarter_turns, tried) == (0, [0])


@pytest.mark.parametrize("quarter_turns", [1, 3])
def test_the_orientation_with_good_digits_wins(page: Page, quarter_turns: int) -> None:
    """Both sides are tried. Then the page is not upside down."""
    selection, tried = find(page, {quarter_turns})
    assert (selection.page.quarter_turns, tried) == (quarter_turns, [0, 1, 3])
    assert selection.accepted_share == 1


def test_a_page_that_cannot_be_read_on_its_side_may_be_upside_down(page: Page) -> None:
    """This is tried last."""
    selection, tried = find(page, {2})
    assert (selection.page.quarter_turns, tried) == (2, [0, 1, 3, 2])


def test_without_a_good_orientation_the_page_stays_upright(page: Page) -> None:
    """Poor scores everywhere are no reason to turn it."""
    assert find(page, set())[0].page.quarter_turns == 0


def test_a_crowded_orientation_is_passed_over(page: Page) -> None:
    """The others are still tried."""
    selection, tried = find(page, {3}, {1: CrowdedPictureError("It shows too much.")})
    assert (selection.page.quarter_turns, tried) == (3, [0, 1, 3])


def test_without_time_no_more_orientations_are_tried(page: Page) -> None:
    """The upright reading is the answer, in place of none."""
    selection, tried = find(page, {3}, {1: DeadlineError()})
    assert (selection.page.quarter_turns, tried) == (0, [0, 1])
