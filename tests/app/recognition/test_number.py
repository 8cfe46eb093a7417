"""From an image file to a number: golden digits in rows on a page."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from app.errors import RequestError
from app.inference.engines import Engine
from app.inference.model_folder import ModelFolder, Thresholds
from app.recognition.answers import Reading
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
