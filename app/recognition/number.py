"""The digits of a page to numbers: decide which digits to accept, and whether all ink was read."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from math import prod
from statistics import median, median_low

from app.imaging.decode import open_image
from app.imaging.digit_image import Grey
from app.imaging.pieces import Piece
from app.imaging.rectangle import Rectangle
from app.inference.cascade import fast_part
from app.inference.engines import Engine
from app.inference.model_folder import Thresholds
from app.inference.scores import Score, score_pictures
from app.recognition.answers import BoxInfo, PageInfo, ReadDigit, Reading, ReadLine, Reason
from app.recognition.digit import refusal_reason
from app.recognition.page import Page, open_page, turn_page
from app.recognition.selection import Selection, find_digits

MIN_DIGITS_FOR_HEIGHT = 3  # of a line, or else of the page: fewer do not tell how high digits are
MIN_HEIGHT, MAX_HEIGHT = 0.4, 2.2  # of a digit, in heights of the digits around it
MIN_UNREAD_HEIGHT = 0.5  # of a digit's height: unread ink of this size may be a digit
MIN_UNREAD_INK = 0.4  # of the ink of a digit: so may this much
MIN_COVERED = 0.5  # of a piece's box: then it was read
# A gap between two numbers is wider than this, in heights of a digit, and wider than this many usual gaps of the line.
# The last value is for a line with one gap, in heights of a digit.
WIDE_GAP, UNUSUAL_GAP, ONLY_GAP = 0.8, 2.0, 1.5


def read_number(data: bytes, max_pixels: int, engine: Engine, thresholds: Thresholds, model: str) -> Reading:
    """Do all the steps at once, for callers that have an engine and no service.

    Raises:
        RequestError: See ``open_image`` and ``open_page``.
    """

    async def score(pictures: list[Grey]) -> list[Score]:
        return score_pictures(fast_part(engine), pictures).to_list() if pictures else []

    async def turn(page: Page, quarter_turns: int) -> Page:
        return turn_page(page, quarter_turns)

    page = open_page(open_image(data, max_pixels))
    selection = asyncio.run(find_digits(page, thresholds, score, turn))
    pictures = selection.pictures
    return make_reading(selection, score_pictures(engine, pictures).to_list() if pictures else [], thresholds, model)


def make_reading(selection: Selection, scores: Sequence[Score], thresholds: Thresholds, model: str) -> Reading:
    """Turn the scores of the selected digits, in order, into numbers."""
    page, lines, remaining = selection.page, [], iter(scores)
    all_boxes = [digit.box for line in selection.lines for digit in line]
    for line in selection.lines:
        boxes = [digit.box for digit in line]
        around = boxes if len(boxes) >= MIN_DIGITS_FOR_HEIGHT else all_boxes
        digits = [read_digit(page, box, next(remaining), thresholds, is_odd_height(box, around)) for box in boxes]
        text = "".join(str(digit.digit) for digit in digits)
        confidence = prod(digit.confidence for digit in digits)
        lines.append(ReadLine(text=text, numbers=divide_at_gaps(text, boxes), confidence=confidence, digits=digits))
    all_digits = [digit for line in lines for digit in line.digits]
    share_read = measure_share_read(page.ink.pieces, all_boxes)
    reason: Reason | None = "blank" if not page.ink.pieces else None if share_read == 1 else "unread_ink"
    reason = next((digit.reason for digit in all_digits if digit.reason), reason)
    return Reading(
        text="\n".join(line.text for line in lines),
        confidence=share_read * prod(line.confidence for line in lines) if lines else None,
        accepted=reason is None,
        reason=reason,
        lines=lines,
        input=PageInfo(
            format=page.picture.format,
            width=page.picture.width,
            height=page.picture.height,
            inverted=page.ink.inverted,
            rotation=90 * page.quarter_turns,
        ),
        model=model,
    )


def divide_at_gaps(text: str, boxes: Sequence[Rectangle]) -> list[str]:
    """Divide the digits of a line into numbers, where a gap is wide and wider than usual in this line.

    In the boxes of a form, every gap is wide: these digits are one number.
    """
    gaps = [after.left - before.right for before, after in pairwise(boxes)]
    height = median(box.height for box in boxes)
    widest = max(WIDE_GAP * height, UNUSUAL_GAP * median_low(gaps)) if len(gaps) > 1 else ONLY_GAP * height
    starts = [0, *(index for index, gap in enumerate(gaps, start=1) if gap > widest), len(boxes)]
    return [text[start:end] for start, end in pairwise(starts)]


def measure_share_read(pieces: Sequence[Piece], digits: Sequence[Rectangle]) -> float:
    """Return which share of the ink of a page was read as digits, not counting what is too small for a digit."""
    read, left = 0, []
    for piece in pieces:
        if sum(piece.box.intersection(box) for box in digits) >= MIN_COVERED * piece.box.area:
            read += piece.area
        else:
            left.append(piece)
    if not digits or not read:
        return 0.0
    height, ink = MIN_UNREAD_HEIGHT * median(box.height for box in digits), MIN_UNREAD_INK * read / len(digits)
    unread = sum(piece.area for piece in left if piece.box.longer_side >= height or piece.area >= ink)
    return read / (read + unread)


def is_odd_height(box: Rectangle, boxes: Sequence[Rectangle]) -> bool:
    """Return whether a digit is far lower or higher than the digits around it, as dirt and frames are."""
    if len(boxes) < MIN_DIGITS_FOR_HEIGHT:
        return False
    usual = median(other.height for other in boxes)
    return not MIN_HEIGHT * usual <= box.height <= MAX_HEIGHT * usual


def read_digit(page: Page, box: Rectangle, score: Score, thresholds: Thresholds, has_odd_height: bool) -> ReadDigit:
    """Turn the score of one selected digit into an answer."""
    confidence = max(score.probabilities)
    reason = "not_a_digit" if has_odd_height else refusal_reason(confidence, score.typicality, thresholds)
    return ReadDigit(
        digit=score.probabilities.index(confidence),
        confidence=confidence,
        accepted=reason is None,
        reason=reason,
        box=BoxInfo.from_rectangle(page.to_full_size(box)),
    )
