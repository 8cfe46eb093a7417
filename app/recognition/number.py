"""An image file to the numbers in it: decode, find ink, propose digits, select by score, decide.

The steps are plain functions, for the same reason as in ``digit.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from statistics import median

from app.imaging.decode import OpenedImage, Picture, open_image
from app.imaging.digit_image import Grey
from app.imaging.ink import Ink, find_ink
from app.imaging.pieces import Piece
from app.imaging.rectangle import Rectangle
from app.imaging.segmentation import Candidate, Line, find_best_path, propose_lines
from app.inference.cascade import fast_part
from app.inference.engines import Engine
from app.inference.model_folder import Thresholds
from app.inference.scores import Score, score_pictures
from app.recognition.answers import BoxInfo, PageInfo, ReadDigit, Reading, ReadLine, Reason
from app.recognition.digit import refusal_reason

MIN_DIGITS_FOR_HEIGHT = 3  # of a line, or else of the page: fewer do not tell how high digits are
MIN_HEIGHT, MAX_HEIGHT = 0.4, 2.2  # of a digit, in heights of the digits around it
MIN_UNREAD_HEIGHT = 0.5  # of a digit's height: unread ink of this size may be a digit
MIN_COVERED = 0.5  # of a piece's box: then it was read


@dataclass(frozen=True)
class Page:
    """A picture, its ink, and everything in it that may be a digit."""

    picture: Picture
    ink: Ink
    lines: list[Line]


def open_page(image: OpenedImage) -> Page:
    """Decode an image and find everything in it that may be a digit.

    Raises:
        RequestError: It cannot be decoded, or it shows too much.
    """
    picture = image.decode()
    ink = find_ink(picture.pixels, "page")
    return Page(picture, ink, propose_lines(ink))


def list_candidates(page: Page) -> list[Grey]:
    """Return the digit images ``(28, 28)`` to score before the digits can be selected."""
    return [candidate.pixels for line in page.lines for candidate in line.candidates]


def select_digits(page: Page, scores: Sequence[Score]) -> list[list[Candidate]]:
    """Select the digits of each line by the scores of the candidates."""
    digits, start = [], 0
    for line in page.lines:
        end = start + len(line.candidates)
        path = find_best_path(line, [(max(score.probabilities), score.typicality) for score in scores[start:end]])
        start = end
        if path:
            digits.append([line.candidates[index] for index in path])
    return digits


def read_number(data: bytes, max_pixels: int, engine: Engine, thresholds: Thresholds, model: str) -> Reading:
    """Do all the steps at once, for callers that have an engine and no service.

    Raises:
        RequestError: See ``open_image`` and ``open_page``.
    """
    page = open_page(open_image(data, max_pixels))
    candidates = list_candidates(page)
    digits = select_digits(page, score_pictures(fast_part(engine), candidates).to_list() if candidates else [])
    pixels = [digit.pixels for line in digits for digit in line]
    return make_reading(page, digits, score_pictures(engine, pixels).to_list() if pixels else [], thresholds, model)


def make_reading(
    page: Page, digits: Sequence[Sequence[Candidate]], scores: Sequence[Score], thresholds: Thresholds, model: str
) -> Reading:
    """Turn the scores of the selected digits, in order, into numbers."""
    lines, remaining = [], iter(scores)
    all_boxes = [digit.box for line in digits for digit in line]
    for line in digits:
        boxes = [digit.box for digit in line] if len(line) >= MIN_DIGITS_FOR_HEIGHT else all_boxes
        read = [read_digit(page, digit, next(remaining), thresholds, is_odd_height(digit.box, boxes)) for digit in line]
        text = "".join(str(digit.digit) for digit in read)
        lines.append(ReadLine(text=text, confidence=prod(digit.confidence for digit in read), digits=read))
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
        ),
        model=model,
    )


def measure_share_read(pieces: Sequence[Piece], digits: Sequence[Rectangle]) -> float:
    """Return which share of the ink of a page was read as digits, not counting what is too small for a digit."""
    if not digits:
        return 0.0
    smallest = MIN_UNREAD_HEIGHT * median(box.height for box in digits)
    read = unread = 0
    for piece in pieces:
        covered = sum(piece.box.intersection(box) for box in digits)
        if covered >= MIN_COVERED * piece.box.area:
            read += piece.area
        elif piece.box.longer_side >= smallest:
            unread += piece.area
    return read / (read + unread) if unread else 1.0


def is_odd_height(box: Rectangle, boxes: Sequence[Rectangle]) -> bool:
    """Return whether a digit is far lower or higher than the digits around it, as dirt and frames are."""
    if len(boxes) < MIN_DIGITS_FOR_HEIGHT:
        return False
    usual = median(other.height for other in boxes)
    return not MIN_HEIGHT * usual <= box.height <= MAX_HEIGHT * usual


def read_digit(page: Page, digit: Candidate, score: Score, thresholds: Thresholds, has_odd_height: bool) -> ReadDigit:
    """Turn the score of one selected digit into an answer."""
    confidence = max(score.probabilities)
    reason = "not_a_digit" if has_odd_height else refusal_reason(confidence, score.typicality, thresholds)
    return ReadDigit(
        digit=score.probabilities.index(confidence),
        confidence=confidence,
        accepted=reason is None,
        reason=reason,
        box=BoxInfo.from_rectangle(page.picture.to_full_size(digit.box.scale(1 / page.ink.scale))),
    )
