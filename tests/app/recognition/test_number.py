"""From an image file to a number: golden digits in rows on a page."""

from collections.abc import Callable
from dataclasses import asdict

import cv2
import numpy as np
import pytest
from PIL import Image

from app.errors import RequestError
from app.imaging.rectangle import Rectangle
from app.inference.engines import Engine
from app.inference.model_folder import ModelFolder, Thresholds
from app.recognition.answers import BoxInfo, Reading
from app.recognition.number import read_number
from tests.support.pictures import Grey, encode, make_page, png

Digits = list[tuple[int, Grey]]
ReadFile = Callable[[bytes], Reading]
LIMIT = 25_000_000


@pytest.fixture
def read_file(engine: Engine, released: ModelFolder) -> ReadFile:
    """Return a function that reads a file with the released model."""
    thresholds = released.manifest.thresholds("onnxruntime", None)
    return lambda data: read_number(data, LIMIT, engine, thresholds, released.manifest.id)


def test_a_number_is_read(read_file: ReadFile, digits: Digits) -> None:
    """Ten digits in a row give their text, the product of their confidences, and are all accepted."""
    result = read_file(png(make_page([[image for _, image in digits[::2]]])))
    assert result.text == "0123456789"
    assert (result.accepted, result.reason) == (True, None)
    (line,) = result.lines
    assert line.text == result.text
    assert result.confidence == pytest.approx(np.prod([digit.confidence for digit in line.digits]))


def test_lines_are_read_separately(read_file: ReadFile, digits: Digits) -> None:
    """Two rows of five digits are two lines, top to bottom."""
    rows = [[image for _, image in digits[1:10:2]], [image for _, image in digits[11::2]]]
    result = read_file(png(make_page(rows)))
    assert [line.text for line in result.lines] == ["01234", "56789"]
    assert result.text == "01234\n56789"


def test_each_digit_has_its_box(read_file: ReadFile, digits: Digits) -> None:
    """The box is inside the square where the digit was drawn, in pixels of the file, whatever the file's size."""
    drawn = make_page([[image for _, image in digits[:8:2]]])
    for scale in (1, 12):
        large = Image.fromarray(drawn).resize((drawn.shape[1] * scale, drawn.shape[0] * scale))
        result = read_file(encode(large, "JPEG", quality=90))
        assert (result.input.width, result.input.height) == large.size
        assert result.text == "0123"
        for place, digit in enumerate(result.lines[0].digits):
            left = (40 + place * 80) * scale
            assert left - scale <= digit.box.left < digit.box.left + digit.box.width <= left + 61 * scale
            assert 25 * scale <= digit.box.height <= 61 * scale


def test_a_number_with_uncertain_digits_is_refused(engine: Engine, digits: Digits, released: ModelFolder) -> None:
    """With thresholds that no digit meets, the digits have reasons, and the reading still has its text."""
    strict = Thresholds(confidence=1, typicality=1)
    result = read_number(png(make_page([[image for _, image in digits[:6:2]]])), LIMIT, engine, strict, "m-1.0.0")
    assert result.text == "012"
    assert not result.accepted
    assert result.reason in {"not_a_digit", "uncertain"}
    assert any(digit.reason for digit in result.lines[0].digits)


def test_a_page_without_ink_is_blank(read_file: ReadFile) -> None:
    """It has no text, no confidence and no lines. The reason is ``blank``."""
    result = read_file(png(np.full((200, 300), 230, np.uint8)))
    assert (result.text, result.confidence, result.lines) == ("", None, [])
    assert (result.accepted, result.reason) == (False, "blank")


def test_a_single_digit_of_28x28_is_a_number_too(read_file: ReadFile, digits: Digits) -> None:
    """A picture for /predict can also be sent to /read."""
    read_right = sum(read_file(png(image)).text == str(digit) for digit, image in digits)
    assert read_right >= len(digits) - 1


def test_a_file_that_is_not_an_image_is_an_error(read_file: ReadFile) -> None:
    """Errors of the decoder are passed on."""
    with pytest.raises(RequestError):
        read_file(b"no image")


def test_ink_that_is_part_of_no_digit_is_reported(read_file: ReadFile, digits: Digits) -> None:
    """A long stroke below the number is not read. Then the number is not accepted, and its confidence is lower."""
    page = make_page([[image for _, image in digits[:10:2]]])
    plain = read_file(png(page))
    below = np.full((60, page.shape[1]), page[0, 0], np.uint8)
    below[30:33, 10:90] = 255 - page[0, 0]
    marked = read_file(png(np.vstack([page, below])))
    assert (plain.accepted, plain.reason) == (True, None)
    assert marked.text == plain.text
    assert (marked.accepted, marked.reason) == (False, "unread_ink")
    assert plain.confidence is not None
    assert marked.confidence is not None
    assert marked.confidence < 0.99 * plain.confidence


def test_a_page_on_its_side_or_upside_down_is_turned(read_file: ReadFile, digits: Digits) -> None:
    """It is read as if it were upright. The boxes are those in the picture as it was sent.

    They may differ by the soft edge of a stroke, which counts for strokes that are higher than wide.
    """
    rows = [[image for _, image in digits[:14:2]], [image for _, image in digits[5:19:2]]]
    page = make_page(rows)
    upright = read_file(png(page))
    assert (upright.text, upright.input.rotation) == ("0123456\n2345678", 0)
    for quarter_turns in (1, 2, 3):
        turned = read_file(png(np.ascontiguousarray(np.rot90(page, quarter_turns))))  # anticlockwise
        assert (turned.text, turned.input.rotation) == (upright.text, 90 * quarter_turns)
        for before, after in zip(upright.lines[0].digits, turned.lines[0].digits, strict=True):
            box = before.box
            sent = Rectangle(box.left, box.top, box.left + box.width, box.top + box.height)
            expected = BoxInfo.from_rectangle(sent.turn(-quarter_turns, page.shape[1], page.shape[0]))
            assert asdict(after.box) == pytest.approx(asdict(expected), abs=2)


def test_a_few_strokes_are_not_turned_until_they_look_like_digits(read_file: ReadFile, digits: Digits) -> None:
    """A 7 on its side stays as it was sent."""
    page = make_page([[image for _, image in digits[14:15]]])
    assert read_file(png(np.ascontiguousarray(np.rot90(page)))).input.rotation == 0


def test_numbers_on_one_line_are_divided_at_wide_gaps(read_file: ReadFile, digits: Digits) -> None:
    """``numbers`` divides what ``text`` has together. The even gaps of a form divide nothing."""
    images = [image for _, image in digits[2:16:2]]
    nothing = np.zeros((28, 28), np.uint8)
    table = read_file(png(make_page([[*images[:3], nothing, *images[3:5], nothing, nothing, *images[5:]]])))
    assert [(line.text, line.numbers) for line in table.lines] == [("1234567", ["123", "45", "67"])]
    form = read_file(png(make_page([images], gap=90)))
    assert [(line.text, line.numbers) for line in form.lines] == [("1234567", ["1234567"])]


def test_a_decimal_comma_is_not_read_as_a_1(read_file: ReadFile, digits: Digits) -> None:
    """A short stroke below the line between two digits adds no digit."""
    page = make_page([[image for _, image in digits[2:12:2]]], gap=30)
    left = 40 + 3 * 90 - 24
    cv2.line(page, (left + 6, 92), (left, 108), 45, 5)
    reading = read_file(png(page))
    assert reading.text == "12345"
