"""An image file to the numbers in it: decode, find ink, propose digits, select by score, decide.

The steps are plain functions, for the same reason as in ``digit.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from app.imaging.decode import OpenedImage, Picture, open_image
from app.imaging.digit_image import Grey
from app.imaging.ink import Ink, find_ink
from app.imaging.segmentation import Candidate, Line, find_best_path, propose_lines
from app.inference.cascade import fast_part
from app.inference.engines import Engine
from app.inference.model_folder import Thresholds
from app.inference.scores import Score, score_pictures
from app.recognition.answers import BoxInfo, PageInfo, ReadDigit, Reading, ReadLine
from app.recognition.digit import refusal_reason


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
    ink = find_ink(picture.pixels)
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
    for line in digits:
        read = [read_digit(page, digit, next(remaining), thresholds) for digit in line]
        text = "".join(str(digit.digit) for digit in read)
        lines.append(ReadLine(text=text, confidence=prod(digit.confidence for digit in read), digits=read))
    all_digits = [digit for line in lines for digit in line.digits]
    reason = next((digit.reason for digit in all_digits if digit.reason), None) if all_digits else "blank"
    return Reading(
        text="\n".join(line.text for line in lines),
        confidence=prod(line.confidence for line in lines) if lines else None,
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


def read_digit(page: Page, digit: Candidate, score: Score, thresholds: Thresholds) -> ReadDigit:
    """Turn the score of one selected digit into an answer."""
    confidence = max(score.probabilities)
    reason = refusal_reason(confidence, score.typicality, thresholds)
    return ReadDigit(
        digit=score.probabilities.index(confidence),
        confidence=confidence,
        accepted=reason is None,
        reason=reason,
        box=BoxInfo.from_rectangle(page.picture.to_full_size(digit.box.scale(1 / page.ink.scale))),
    )
