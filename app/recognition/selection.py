"""Selects the digits of a page by the scores of its candidates, and finds out which way up the page is."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean

from app.errors import CrowdedPictureError, DeadlineError
from app.imaging.digit_image import Grey
from app.imaging.segmentation import Candidate, find_best_path, reading_cost
from app.inference.model_folder import Thresholds
from app.inference.scores import Score
from app.recognition.digit import refusal_reason
from app.recognition.page import Page

MIN_ACCEPTED = 0.75  # of the digits meet the thresholds if the page is the right way up
MIN_TURNED_DIGITS = 4  # of a page that was turned: fewer may look like digits by chance


@dataclass(frozen=True, repr=False)  # asyncio prints results, and arrays are long
class Selection:
    """The digits of a page, line by line."""

    page: Page
    lines: list[list[Candidate]]
    accepted_share: float  # of the digits that meet the thresholds
    mean_cost: float  # nats, of a digit

    @property
    def pictures(self) -> list[Grey]:
        """The digit images ``(28, 28)``, in order."""
        return [digit.pixels for line in self.lines for digit in line]


async def find_digits(
    page: Page,
    thresholds: Thresholds,
    score: Callable[[list[Grey]], Awaitable[list[Score]]],
    turn: Callable[[Page, int], Awaitable[Page]],
) -> Selection:
    """Select the digits of a page. If they are poor, turn it: cameras save many pages on their side.

    Args:
        page: The page, upright as far as the file says.
        thresholds: That digits should meet.
        score: Scores digit images.
        turn: Does what ``turn_page`` does, or raises ``DeadlineError`` when there is no more time for it.
    """
    upright = select_digits(page, await score(page.candidates), thresholds)
    if upright.accepted_share >= MIN_ACCEPTED or len(page.ink.pieces) < MIN_TURNED_DIGITS:
        return upright
    selections = [upright]
    for quarter_turns in (1, 3, 2):
        if quarter_turns == 2 and len(selections) > 1:  # a page that can be read on its side is not upside down
            break
        try:
            turned_page = await turn(page, quarter_turns)
        except CrowdedPictureError:
            continue
        except DeadlineError:
            break
        turned = select_digits(turned_page, await score(turned_page.candidates), thresholds)
        if turned.accepted_share >= MIN_ACCEPTED and len(turned.pictures) >= MIN_TURNED_DIGITS:
            selections.append(turned)
    return min(selections, key=lambda selection: selection.mean_cost)


def select_digits(page: Page, scores: Sequence[Score], thresholds: Thresholds) -> Selection:
    """Select the digits of each line by the scores of the candidates, in order."""
    lines: list[list[Candidate]] = []
    costs: list[float] = []
    start = accepted = 0
    for line in page.lines:
        line_scores = scores[start : start + len(line.candidates)]
        start += len(line.candidates)
        likelihoods = [(max(score.probabilities), score.typicality) for score in line_scores]
        if path := find_best_path(line, likelihoods):
            lines.append([line.candidates[index] for index in path])
            costs += [line.candidates[index].cost + reading_cost(*likelihoods[index]) for index in path]
            accepted += sum(refusal_reason(*likelihoods[index], thresholds) is None for index in path)
    return Selection(page, lines, accepted / max(1, len(costs)), fmean(costs) if costs else inf)
