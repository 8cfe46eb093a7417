"""Normalising: what comes out is as MNIST has it, and what already is so is left alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from app.inference.engines import Engine
from app.imaging.normalize import border, normalize
from tests.support.pictures import Grey

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
    from training.data.mnist import load

    for image in load(data_dir, "test").images.numpy():
        result = normalize(image)
        assert result.pixels is image
        assert not result.blank


def test_normalising_what_is_normalised_changes_nothing(digits: Digits) -> None:
    """Whatever comes out of it is in the convention, and goes through untouched."""
    for _, image in digits:
        large = np.asarray(Image.fromarray(255 - image).resize((150, 120), Image.Resampling.BICUBIC))
        once = normalize(large).pixels
        again = normalize(once)
        np.testing.assert_array_equal(again.pixels, once)
        assert not again.normalized


@pytest.mark.parametrize("shift", [(-4, 0), (3, 3), (0, 4)])
def test_a_28x28_picture_off_centre_is_centred(shift: tuple[int, int], seven: Grey) -> None:
    """It is not in the convention, and is brought there."""
    result = normalize(np.roll(seven, shift, (0, 1)))
    assert result.normalized
    assert np.abs(np.array(centre_of_mass(result.pixels)) - 13.5).max() <= 1


def test_a_28x28_picture_on_grey_paper_is_lifted(seven: Grey) -> None:
    """Paper becomes black and ink white."""
    result = normalize((90 + seven * 0.5).astype(np.uint8))
    assert result.normalized
    assert np.median(border(result.pixels)) == 0
    assert result.pixels.max() > 240


def test_never_only_resizes(seven: Grey) -> None:
    """normalize=never: nothing is inverted, cut or centred."""
    dark = 255 - seven
    assert normalize(dark, "never").pixels is dark
    wide = normalize(np.full((100, 300), 250, np.uint8), "never")
    assert (wide.pixels.shape, int(wide.pixels.min()), wide.blank, wide.inverted) == ((28, 28), 250, True, False)


@pytest.mark.parametrize("pen", [2, 4, 8, 20, 40])
def test_a_stroke_of_any_pen_can_be_seen(pen: int) -> None:
    """A ring of 300 pixels drawn with pens fine and bold comes out one to five pixels wide, and white."""
    page = Image.new("L", (400, 400), 230)
    ImageDraw.Draw(page).ellipse((50, 50, 350, 350), outline=30, width=pen)
    pixels = normalize(np.asarray(page)).pixels
    assert pixels[13, :14].max() > 200
    assert 1 <= (pixels[13, :14] > 100).sum() <= 5


def test_the_bar_of_a_five_belongs_to_it() -> None:
    """A small piece beside the largest is part of the digit; one as large as it is another digit."""
    page = Image.new("L", (300, 300), 230)
    draw = ImageDraw.Draw(page)
    draw.arc((80, 100, 200, 240), -120, 140, fill=30, width=12)
    draw.line((110, 82, 190, 76), fill=30, width=12)
    joined = normalize(np.asarray(page))
    assert not joined.several
    assert joined.box
    assert joined.box.top < 85
    draw.line((260, 90, 255, 240), fill=30, width=12)
    assert normalize(np.asarray(page)).several


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
    assert result.box
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
