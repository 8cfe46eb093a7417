"""Normalising: what comes out is as MNIST has it, and what already is so is left alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.engine import Engine
from app.normalize import normalize
from tests.pictures import Grey

Digits = list[tuple[int, Grey]]


def centre_of_mass(grey: Grey) -> tuple[float, float]:
    weight = grey.astype(float)
    rows, columns = np.indices(grey.shape)
    return float((rows * weight).sum() / weight.sum()), float((columns * weight).sum() / weight.sum())


def test_a_digit_as_mnist_has_it_is_left_alone(digits: Digits) -> None:
    """28x28, light on dark: bit for bit what it was."""
    for _, image in digits:
        result = normalize(image)
        np.testing.assert_array_equal(result.pixels, image)
        assert (result.normalized, result.inverted, result.blank) == (False, False, False)


def test_all_of_the_test_split_is_left_alone(data_dir: Path) -> None:
    """All 10,000 test digits go through bit for bit."""
    from training.data import load

    for image in load(data_dir, "test").images.numpy():
        result = normalize(image)
        assert result.pixels is image
        assert not result.blank


def test_dark_on_light_is_inverted(seven: Grey) -> None:
    """A 28x28 picture of dark ink becomes its negative, and nothing else."""
    result = normalize(255 - seven)
    np.testing.assert_array_equal(result.pixels, seven)
    assert (result.normalized, result.inverted) == (False, True)


@pytest.mark.parametrize("ink", [True, False])
@pytest.mark.parametrize("size", [(300, 200), (64, 64), (29, 28), (2000, 900)])
def test_a_larger_picture_is_fitted_into_20x20_and_centred(size: tuple[int, int], ink: bool, seven: Grey) -> None:
    """The ink's box has a longer side of 20 pixels, and its centre of mass is within a pixel of the middle."""
    canvas = Image.new("L", size, 0)
    canvas.paste(Image.fromarray(seven).resize((min(size) // 2,) * 2), (3, 5))
    grey = np.asarray(canvas)
    result = normalize(255 - grey if ink else grey)
    assert (result.normalized, result.inverted) == (True, ink)
    assert result.pixels.shape == (28, 28)
    rows, columns = np.nonzero(result.pixels)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20)
    assert np.abs(np.array(centre_of_mass(result.pixels)) - 13.5).max() <= 1


def test_enlarged_digits_on_paper_are_still_read(digits: Digits, engine: Engine) -> None:
    """Each of twenty digits, four times as large, off centre, dark on paper that is not quite white, reads the same."""
    for digit, image in digits:
        paper = np.full((200, 160), 235, np.uint8)
        large = np.asarray(Image.fromarray(image).resize((112, 112), Image.Resampling.BICUBIC))
        paper[60:172, 10:122] = 235 - (large * 0.8).astype(np.uint8)
        assert int(engine(normalize(paper).pixels[None]).probabilities.argmax()) == digit


@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (1, 500), (640, 480)])
@pytest.mark.parametrize("level", [0, 100, 255])
def test_a_picture_without_ink_is_blank(shape: tuple[int, int], level: int) -> None:
    """One grey all over, or nearly so, is blank paper whatever its colour."""
    noise = np.random.default_rng(0).integers(0, 8, shape)
    for grey in (np.full(shape, level, np.uint8), np.clip(level + noise, 0, 255).astype(np.uint8)):
        assert normalize(grey).blank


def test_a_single_stroke_pixel_does_not_break_it() -> None:
    """Ink one pixel wide in a picture of any shape still gives a 28x28 picture."""
    for shape in ((1, 900), (900, 1), (3, 3), (28, 29)):
        grey = np.zeros(shape, np.uint8)
        grey[shape[0] // 2, shape[1] // 2] = 255
        assert normalize(grey).pixels.shape == (28, 28)
