"""Pictures that people send, through all steps of the service: ink on paper, moved, rotated, random."""

import io
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from app.inference.engines import Engine
from app.inference.model_folder import ModelFolder
from app.inference.scores import score_pictures
from app.recognition.digit import prepare_file
from app.recognition.number import read_number
from benchmarks.synthetic_photographs import ORIENTATION_TAG, QUARTER_TURNS, make_photo
from tests.support.pictures import Grey, encode, png
from tests.support.running import Server

Digits = list[tuple[int, Grey]]
MAX_PIXELS = 25_000_000


def read_digit(data: bytes, engine: Engine) -> int:
    scores = score_pictures(engine, [prepare_file(data, MAX_PIXELS).pixels]).to_list()
    probabilities = scores[0].probabilities
    return probabilities.index(max(probabilities))


@pytest.mark.slow
def test_digits_on_paper_are_read(engine: Engine, digits: Digits) -> None:
    """At least 96 % of 200 synthetic photographs of the golden digits are read. benchmarks.pictures measures the
    figure."""
    generator = np.random.default_rng(5)
    right = 0
    for index in range(200):
        digit, image = digits[index % len(digits)]
        right += read_digit(make_photo([(image, digit)], generator).data, engine) == digit
    assert right >= 192


@pytest.mark.slow
@pytest.mark.parametrize(("options", "minimum"), [({}, 26), ({"touching": True}, 20), ({"boxed": True}, 24)])
def test_numbers_on_paper_are_read(
    options: dict[str, bool], minimum: int, engine: Engine, digits: Digits, released: ModelFolder
) -> None:
    """Enough of 30 synthetic photographs of five golden digits are read without an error: with digits apart, with a
    touching pair, in the boxes of a form."""
    generator = np.random.default_rng(6)
    thresholds = released.manifest.thresholds("onnxruntime", None)
    right = 0
    for _ in range(30):
        indices = generator.integers(len(digits), size=5)
        photo = make_photo([(digits[i][1], digits[i][0]) for i in indices], generator, sizes=(20, 150), **options)
        right += read_number(photo.data, MAX_PIXELS, engine, thresholds, "m").text == photo.text
    assert right >= minimum


CHANGES: dict[str, Callable[[Grey], Grey]] = {
    "inverted": lambda page: 255 - page,
    "moved": lambda page: np.roll(page, (23, -17), (0, 1)),
    "enlarged": lambda page: np.asarray(Image.fromarray(page).resize((420, 420), Image.Resampling.BICUBIC)),
    "padded": lambda page: np.pad(page, ((90, 10), (30, 200)), constant_values=page[0, 0]),
}


@pytest.fixture(scope="module")
def pages(data_dir: Path, released: ModelFolder, engine: Engine) -> list[tuple[Grey, int]]:
    """A thousand held-out digits, each enlarged four times on a light page, and the digit that each is read as."""
    pytest.importorskip("torch")
    from training.data.mnist import hold_out, load

    _, held_out = hold_out(load(data_dir, "train"), released.manifest.training["data"]["held_out"]["mnist"])
    found = []
    for image in held_out.images[:1000].numpy():
        page = np.full((200, 200), 230, np.uint8)
        large = np.asarray(Image.fromarray(image).resize((112, 112), Image.Resampling.BICUBIC))
        page[44:156, 44:156] = 230 - (large * 0.8).astype(np.uint8)
        found.append((page, read_digit(png(page), engine)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_keeps_the_digit_keeps_the_answer(
    change: str, pages: list[tuple[Grey, int]], engine: Engine
) -> None:
    """Of a thousand digits that are inverted, moved, enlarged or padded, at least 99 % are read as before."""
    same = sum(read_digit(png(CHANGES[change](page)), engine) == digit for page, digit in pages)
    assert same >= 0.99 * len(pages)


@pytest.mark.parametrize("orientation", list(QUARTER_TURNS))
def test_the_exif_orientation_is_applied(orientation: int, engine: Engine, digits: Digits) -> None:
    """A phone may be held in any way: the network gets the same pixels, if the file is lossless."""
    for _, image in digits:
        page = np.pad(255 - np.asarray(Image.fromarray(image).resize((112, 140))), 20, constant_values=255)
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = orientation
        turned = encode(Image.fromarray(np.rot90(page, QUARTER_TURNS[orientation])), "PNG", exif=exif)
        expected = prepare_file(png(page), MAX_PIXELS).pixels
        np.testing.assert_array_equal(prepare_file(turned, MAX_PIXELS).pixels, expected)


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    """Draw a file of any size, mode and format, with noise, blocks, dots or one grey level. It may be truncated."""
    sides = st.one_of(st.integers(1, 160), st.sampled_from([1, 2, 9_000]))
    width, height = draw(sides), draw(sides)
    assume(width * height < 1_000_000)
    seed, kind = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from(["noise", "blocks", "dots", "one level"]))
    generator = np.random.default_rng(seed)
    grey: NDArray[np.integer]
    if kind == "noise":
        grey = generator.integers(0, 256, (height, width))
    elif kind == "blocks":
        coarse = generator.integers(0, 2, (-(-height // 8), -(-width // 8))) * 255
        grey = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    elif kind == "dots":
        grey = (generator.random((height, width)) < 0.02) * 255
    else:
        grey = np.full((height, width), seed % 256)
    image = Image.fromarray(grey.astype(np.uint8)).convert(draw(st.sampled_from(["L", "RGB", "RGBA", "1", "P", "LA"])))
    file = io.BytesIO()
    kind = draw(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "GIF"]))
    image.convert("RGB" if kind in ("JPEG", "BMP", "WEBP") else image.mode).save(file, kind)
    data = file.getvalue()
    return data[: draw(st.integers(1, len(data)))] if draw(st.integers(0, 4)) == 0 else data


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=pictures(), path=st.sampled_from(["/predict", "/predict?normalize=always&preview=true", "/read"]))
def test_any_picture_gets_an_answer_or_a_problem(server: Server, data: bytes, path: str) -> None:
    """It gets a 200, or a 4xx that says what is wrong, and never a 500."""
    answer = httpx.post(server.url + path, files={"file": data}, timeout=30)
    assert answer.status_code == 200 or 400 <= answer.status_code < 500
    assert answer.status_code == 200 or answer.headers["content-type"] == "application/problem+json"
