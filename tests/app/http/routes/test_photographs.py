"""Pictures that people send, through the whole of the service's own steps: ink on paper, moved, turned, hostile."""

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

from app.inference.model_folder import ModelFolder
from app.recognition.digit import prepare_file, score
from app.inference.engines import Engine
from app.recognition.number import read
from benchmarks.paper import HELD, ORIENTATION, photo
from tests.support.pictures import Grey, encode, png
from tests.support.running import Server

Digits = list[tuple[int, Grey]]
LIMIT = 25_000_000


def digit_on(data: bytes, engine: Engine) -> int:
    probabilities = score(engine, [prepare(data, LIMIT).pixels])[0].probabilities
    return probabilities.index(max(probabilities))


def test_digits_on_paper_are_read(engine: Engine, digits: Digits) -> None:
    """Of 200 photographs of the golden digits, at least 96 in a hundred; the figure itself is benchmarks.pictures'."""
    generator = np.random.default_rng(5)
    right = 0
    for index in range(200):
        digit, image = digits[index % len(digits)]
        right += digit_on(photo([(image, digit)], generator).data, engine) == digit
    assert right >= 192


@pytest.mark.parametrize(("how", "least"), [({}, 26), ({"touching": True}, 20), ({"boxed": True}, 24)])
def test_numbers_on_paper_are_read(
    how: dict[str, bool], least: int, engine: Engine, digits: Digits, released: ModelFolder
) -> None:
    """Of 30 photographs of five golden digits, so many to the last digit: apart, with a pair that touches, in boxes."""
    generator = np.random.default_rng(6)
    thresholds = released.manifest.thresholds("onnxruntime", None)
    right = 0
    for _ in range(30):
        chosen = generator.integers(len(digits), size=5)
        made = photo([(digits[i][1], digits[i][0]) for i in chosen], generator, sizes=(20, 150), **how)
        right += read(made.data, LIMIT, engine, thresholds, "m").text == made.text
    assert right >= least


CHANGES: dict[str, Callable[[Grey], Grey]] = {
    "inverted": lambda page: 255 - page,
    "moved": lambda page: np.roll(page, (23, -17), (0, 1)),
    "enlarged": lambda page: np.asarray(Image.fromarray(page).resize((420, 420), Image.Resampling.BICUBIC)),
    "padded": lambda page: np.pad(page, ((90, 10), (30, 200)), constant_values=page[0, 0]),
}


@pytest.fixture(scope="module")
def many(data_dir: Path, engine: Engine) -> list[tuple[Grey, int]]:
    """A thousand held-out digits, each on a light page of its own, four times as large; and what each is read as."""
    from training.data.mnist import hold_out, load

    _, held_out = hold_out(load(data_dir, "train"), 5_000)
    pages = []
    for image in held_out.images[:1000].numpy():
        page = np.full((200, 200), 230, np.uint8)
        large = np.asarray(Image.fromarray(image).resize((112, 112), Image.Resampling.BICUBIC))
        page[44:156, 44:156] = 230 - (large * 0.8).astype(np.uint8)
        pages.append((page, digit_on(png(page), engine)))
    return pages


@pytest.mark.parametrize("change", CHANGES)
def test_what_does_not_change_the_digit_does_not_change_the_answer(
    change: str, many: list[tuple[Grey, int]], engine: Engine
) -> None:
    """Inverting, moving, enlarging, padding: at least 99 in a hundred of a thousand digits read as before."""
    same = sum(digit_on(png(CHANGES[change](page)), engine) == read for page, read in many)
    assert same >= 0.99 * len(many)


@pytest.mark.parametrize("orientation", list(HELD))
def test_a_phone_may_be_held_in_any_way(orientation: int, engine: Engine, digits: Digits) -> None:
    """The EXIF orientation is applied: the same pixels come to the network, from a file without loss."""
    for _, image in digits:
        page = np.pad(255 - np.asarray(Image.fromarray(image).resize((112, 140))), 20, constant_values=255)
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        turned = encode(Image.fromarray(np.rot90(page, HELD[orientation])), "PNG", exif=exif)
        np.testing.assert_array_equal(prepare(turned, LIMIT).pixels, prepare(png(page), LIMIT).pixels)


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    """A file of any size, mode and format, with anything on it: noise, shapes, blocks, or cut short."""
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
    """200, or a 4xx that says what is wrong: never a 500, and never silence."""
    answer = httpx.post(server.url + path, files={"file": data})
    assert answer.status_code == 200 or 400 <= answer.status_code < 500
    assert answer.status_code == 200 or answer.headers["content-type"] == "application/problem+json"
