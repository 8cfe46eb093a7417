"""An image file -> the number on it: decode, find ink, propose digits, choose by score, answer.

The steps are plain functions, for the same reason as in ``classifier.py``. Knows nothing of HTTP.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from app.bundle import Thresholds
from app.classifier import Score, doubt, score
from app.engine import Engine, fast_part
from app.image import Opened, Picture, open_image
from app.ink import Ink, find_ink
from app.normalize import Grey
from app.schemas import BoxInfo, PageInfo, ReadDigit, Reading, ReadLine
from app.segment import Candidate, Line, best_path, propose


@dataclass(frozen=True)
class Page:
    """A picture, its ink, and what of it may be digits."""

    picture: Picture
    ink: Ink
    lines: list[Line]


def open_page(image: Opened) -> Page:
    """Decode an image and find everything on it that may be a digit.

    Raises:
        RequestError: it cannot be decoded, or there is too much on it.
    """
    picture = image.decode()
    ink = find_ink(picture.pixels)
    return Page(picture, ink, propose(ink))


def candidates(page: Page) -> list[Grey]:
    """All that is to be scored before the digits can be chosen, as ``(28, 28)`` pictures."""
    return [candidate.pixels for line in page.lines for candidate in line.candidates]


def chosen(page: Page, scores: Sequence[Score]) -> list[list[Candidate]]:
    """Choose the digits of each line by the scores of the candidates."""
    digits, start = [], 0
    for line in page.lines:
        end = start + len(line.candidates)
        path = best_path(line, [(max(score.probabilities), score.typicality) for score in scores[start:end]])
        start = end
        if path:
            digits.append([line.candidates[index] for index in path])
    return digits


def read(data: bytes, max_pixels: int, engine: Engine, thresholds: Thresholds, model: str) -> Reading:
    """Take all the steps at once, for whoever has an engine at hand and no service.

    Raises:
        RequestError: as ``open_image`` and ``open_page`` do.
    """
    page = open_page(open_image(data, max_pixels))
    scouted = candidates(page)
    digits = chosen(page, score(fast_part(engine), scouted) if scouted else [])
    pixels = [digit.pixels for line in digits for digit in line]
    return reading(page, digits, score(engine, pixels) if pixels else [], thresholds, model)


def reading(
    page: Page, digits: Sequence[Sequence[Candidate]], scores: Sequence[Score], thresholds: Thresholds, model: str
) -> Reading:
    """Read the scores of the chosen digits, in order, as numbers."""
    lines, remaining = [], iter(scores)
    for line in digits:
        read = [read_digit(page, digit, next(remaining), thresholds) for digit in line]
        text = "".join(str(digit.digit) for digit in read)
        lines.append(ReadLine(text=text, confidence=prod(digit.confidence for digit in read), digits=read))
    every = [digit for line in lines for digit in line.digits]
    reason = next((digit.reason for digit in every if digit.reason), None) if every else "blank"
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
    confidence = max(score.probabilities)
    reason = doubt(confidence, score.typicality, thresholds)
    return ReadDigit(
        digit=score.probabilities.index(confidence),
        confidence=confidence,
        accepted=reason is None,
        reason=reason,
        box=BoxInfo.of(page.picture.in_picture(digit.box.scaled(1 / page.ink.scale))),
    )
