"""From an image file to a number: golden digits laid out on pages."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from app.inference.model_folder import ModelFolder, Thresholds
from app.inference.engines import Engine
from app.errors import RequestError
from app.recognition.number import read
from app.http.schemas import Reading
from tests.support.pictures import Grey, encode, png

Digits = list[tuple[int, Grey]]
Read = Callable[[bytes], Reading]
LIMIT = 25_000_000


def page(rows: list[list[Grey]], size: int = 60, apart: int = 20) -> Grey:
    """Lay digits in rows on light paper, each in a square of this many pixels."""
    height, width = len(rows) * (size + 40) + 40, max(len(row) for row in rows) * (size + apart) + 80
    paper = np.full((height, width), 225, np.uint8)
    for line, row in enumerate(rows):
        for place, digit in enumerate(row):
            ink = np.asarray(Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC))
            top, left = 40 + line * (size + 40), 40 + place * (size + apart)
            paper[top : top + size, left : left + size] = 225 - (ink * 0.8).astype(np.uint8)
    return paper


@pytest.fixture
def read_file(engine: Engine, released: ModelFolder) -> Read:
    thresholds = released.manifest.thresholds("onnxruntime", None)
    return lambda data: read(data, LIMIT, engine, thresholds, released.manifest.id)


def test_a_number_is_read(read_file: Read, digits: Digits) -> None:
    """Ten digits in a row: the text, the product of the confidences, and each digit accepted."""
    result = read_file(png(page([[image for _, image in digits[::2]]])))
    assert result.text == "0123456789"
    assert (result.accepted, result.reason) == (True, None)
    (line,) = result.lines
    assert line.text == result.text
    assert result.confidence == pytest.approx(np.prod([digit.confidence for digit in line.digits]))


def test_lines_are_kept_apart(read_file: Read, digits: Digits) -> None:
    """Two rows of five are two lines, top to bottom."""
    rows = [[image for _, image in digits[1:10:2]], [image for _, image in digits[11::2]]]
    result = read_file(png(page(rows)))
    assert [line.text for line in result.lines] == ["01234", "56789"]
    assert result.text == "01234\n56789"


def test_each_digit_tells_where_it_is(read_file: Read, digits: Digits) -> None:
    """Its box lies in the square where it was drawn, in pixels of the file, however large the file is."""
    drawn = page([[image for _, image in digits[:8:2]]])
    for scale in (1, 12):
        large = Image.fromarray(drawn).resize((drawn.shape[1] * scale, drawn.shape[0] * scale))
        result = read_file(encode(large, "JPEG", quality=90))
        assert (result.input.width, result.input.height) == large.size
        assert result.text == "0123"
        for place, digit in enumerate(result.lines[0].digits):
            left = (40 + place * 80) * scale
            assert left - scale <= digit.box.left < digit.box.left + digit.box.width <= left + 61 * scale
            assert 25 * scale <= digit.box.height <= 61 * scale


def test_a_digit_that_is_not_sure_is_told_and_the_whole_is_not_accepted(
    engine: Engine, digits: Digits, released: ModelFolder
) -> None:
    """At thresholds that nothing reaches, every digit has its reason and the text is still there."""
    strict = Thresholds(confidence=1, typicality=1)
    result = read(png(page([[image for _, image in digits[:6:2]]])), LIMIT, engine, strict, "m-1.0.0")
    assert result.text == "012"
    assert not result.accepted
    assert result.reason in {"not_a_digit", "uncertain"}
    assert any(digit.reason for digit in result.lines[0].digits)


def test_a_page_without_ink_is_blank(read_file: Read) -> None:
    """No text, no confidence, no lines; the reason is blank."""
    result = read_file(png(np.full((200, 300), 230, np.uint8)))
    assert (result.text, result.confidence, result.lines) == ("", None, [])
    assert (result.accepted, result.reason) == (False, "blank")


def test_a_single_digit_of_28x28_is_a_number_too(read_file: Read, digits: Digits) -> None:
    """What /predict takes, /read takes."""
    read_right = sum(read_file(png(image)).text == str(digit) for digit, image in digits)
    assert read_right >= len(digits) - 1


def test_what_is_no_image_is_an_error(read_file: Read) -> None:
    with pytest.raises(RequestError):
        read_file(b"no image")
