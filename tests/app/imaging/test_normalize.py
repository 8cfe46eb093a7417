"""Normalising: the result follows the MNIST convention, and a picture that already does is unchanged."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from app.imaging.normalize import FULL_INK_PERCENTILE, find_full_ink, get_border, normalize
from app.inference.engines import Engine
from tests.support.pictures import Grey

Digits = list[tuple[int, Grey]]


def centre_of_mass(grey: Grey) -> tuple[float, float]:
    weight = grey.astype(float)
    rows, columns = np.indices(grey.shape)
    return float((rows * weight).sum() / weight.sum()), float((columns * weight).sum() / weight.sum())


def test_an_mnist_digit_is_unchanged(digits: Digits) -> None:
    """A digit of 28x28, light on dark, stays the same bit for bit."""
    for _, image in digits:
        result = normalize(image)
        np.testing.assert_array_equal(result.pixels, image)
        assert (result.normalized, result.inverted, result.blank) == (False, False, False)


@pytest.mark.slow
def test_all_digits_of_the_test_split_are_unchanged(data_dir: Path) -> None:
    """All 10,000 test digits stay the same bit for bit."""
    file = data_dir / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    images = np.fromfile(file, np.uint8, offset=16).reshape(-1, 28, 28)
    assert len(images) == 10_000
    for image in images:
        result = normalize(image)
        assert result.pixels is image
        assert not result.blank


def test_normalising_twice_is_normalising_once(digits: Digits) -> None:
    """Every result follows the convention, so it is unchanged the second time."""
    for _, image in digits:
        large = np.asarray(Image.fromarray(255 - image).resize((150, 120), Image.Resampling.BICUBIC))
        once = normalize(large).pixels
        again = normalize(once)
        np.testing.assert_array_equal(again.pixels, once)
        assert not again.normalized


@pytest.mark.parametrize("peak", [199, 120, 40])
def test_a_faint_28x28_digit_becomes_as_strong_as_mnists(peak: int, seven: Grey) -> None:
    """Below a peak of 200 it is scaled to 255. It is not fitted again, and once more changes nothing."""
    once = normalize((seven.astype(np.float32) * (peak / seven.max())).round().astype(np.uint8))
    assert not once.normalized
    assert np.abs(once.pixels.astype(int) - seven).max() <= 0.5 * 255 / peak + 2
    assert np.array_equal(normalize(once.pixels).pixels, once.pixels)


def test_a_28x28_digit_that_peaks_at_200_stays_as_it_is(seven: Grey) -> None:
    """That is strong enough to be read."""
    strong = (seven.astype(np.float32) * (200 / seven.max())).round().astype(np.uint8)
    assert np.array_equal(normalize(strong).pixels, strong)


@pytest.mark.parametrize("shift", [(-4, 0), (3, 3), (0, 4)])
def test_a_28x28_picture_off_centre_is_centred(shift: tuple[int, int], seven: Grey) -> None:
    """It does not follow the convention, so it is normalised."""
    result = normalize(np.roll(seven, shift, (0, 1)))
    assert result.normalized
    assert np.abs(np.array(centre_of_mass(result.pixels)) - 13.5).max() <= 1


def test_a_28x28_picture_on_grey_paper_gets_full_contrast(seven: Grey) -> None:
    """The paper becomes black and the ink white."""
    result = normalize((90 + seven * 0.5).astype(np.uint8))
    assert result.normalized
    assert np.median(get_border(result.pixels)) == 0
    assert result.pixels.max() > 240


def test_never_only_resizes(seven: Grey) -> None:
    """With ``never``, nothing is inverted, cut out or centred."""
    dark = 255 - seven
    assert normalize(dark, "never").pixels is dark
    wide = normalize(np.full((100, 300), 250, np.uint8), "never")
    assert (wide.pixels.shape, int(wide.pixels.min()), wide.blank, wide.inverted) == ((28, 28), 250, True, False)


@pytest.mark.parametrize("pen", [2, 4, 8, 20, 40])
def test_a_stroke_of_any_pen_is_visible(pen: int) -> None:
    """The stroke of a ring of 300 pixels, drawn with a fine or bold pen, becomes one to five pixels wide and white."""
    page = Image.new("L", (400, 400), 230)
    ImageDraw.Draw(page).ellipse((50, 50, 350, 350), outline=30, width=pen)
    pixels = normalize(np.asarray(page)).pixels
    assert pixels[13, :14].max() > 200
    assert 1 <= (pixels[13, :14] > 100).sum() <= 5


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 1000])
def test_full_ink_is_numpys_percentile_of_the_marked_pixels(count: int) -> None:
    """Pixels that are not marked do not count, however strong."""
    strength = np.full((40, 50), 255, np.uint8)
    strength.flat[:count] = np.random.default_rng(count).integers(0, 250, count)
    mask = np.zeros_like(strength)
    mask.flat[:count] = 1
    expected = np.percentile(strength.flat[:count], FULL_INK_PERCENTILE)
    assert find_full_ink(strength, mask) == pytest.approx(expected)


def test_the_bar_of_a_five_is_part_of_it() -> None:
    """A small piece near the largest one is part of the digit. A piece of the same size is another digit."""
    page = Image.new("L", (300, 300), 230)
    draw = ImageDraw.Draw(page)
    draw.arc((80, 100, 200, 240), -120, 140, fill=30, width=12)
    draw.line((110, 82, 190, 76), fill=30, width=12)
    five = normalize(np.asarray(page))
    assert not five.several
    assert five.box
    assert five.box.top < 85
    draw.line((260, 90, 255, 240), fill=30, width=12)
    assert normalize(np.asarray(page)).several


@pytest.mark.parametrize(("gap", "is_part"), [(0.3, True), (0.5, False)])
def test_the_bar_of_a_five_may_be_far_above_it(gap: float, is_part: bool) -> None:
    """Above a digit, a flat stroke may be a third of the digit's size away. If it is further away, it is not part."""
    page = Image.new("L", (300, 300), 230)
    draw = ImageDraw.Draw(page)
    draw.line([(120, 150), (118, 190), (160, 200), (165, 235), (110, 250)], fill=30, width=10, joint="curve")
    bottom = 145 - 105 * gap
    draw.rectangle((115, bottom - 12, 185, bottom), fill=30)
    five = normalize(np.asarray(page))
    assert five.box
    assert five.several is not is_part
    assert (five.box.top < 140) is is_part


def test_dark_on_light_is_inverted(seven: Grey) -> None:
    """A 28x28 picture with dark ink becomes its negative, with no other change."""
    result = normalize(255 - seven)
    np.testing.assert_array_equal(result.pixels, seven)
    assert (result.normalized, result.inverted) == (False, True)


@pytest.mark.parametrize("ink", [True, False])
@pytest.mark.parametrize("size", [(300, 200), (64, 64), (29, 28), (2000, 900)])
def test_a_larger_picture_is_fitted_into_20x20_and_centred(size: tuple[int, int], ink: bool, seven: Grey) -> None:
    """The longer side of the ink's box is 20 pixels, and its centre of mass is within a pixel of the middle."""
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


def test_enlarged_digits_on_paper_are_read(digits: Digits, engine: Engine) -> None:
    """Each of twenty digits is read correctly when it is four times as large, off centre, and dark on greyish paper."""
    for digit, image in digits:
        paper = np.full((200, 160), 235, np.uint8)
        large = np.asarray(Image.fromarray(image).resize((112, 112), Image.Resampling.BICUBIC))
        paper[60:172, 10:122] = 235 - (large * 0.8).astype(np.uint8)
        assert int(engine(normalize(paper).pixels[None]).probabilities.argmax()) == digit


@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (1, 500), (640, 480)])
@pytest.mark.parametrize("level", [0, 100, 255])
def test_a_picture_without_ink_is_blank(shape: tuple[int, int], level: int) -> None:
    """A picture of one grey level, or nearly so, is blank paper, however dark."""
    noise = np.random.default_rng(0).integers(0, 8, shape)
    for grey in (np.full(shape, level, np.uint8), np.clip(level + noise, 0, 255).astype(np.uint8)):
        assert normalize(grey).blank


def test_ink_of_a_single_pixel_causes_no_error() -> None:
    """One pixel of ink in a picture of any shape gives a 28x28 picture."""
    for shape in ((1, 900), (900, 1), (3, 3), (28, 29)):
        grey = np.zeros(shape, np.uint8)
        grey[shape[0] // 2, shape[1] // 2] = 255
        assert normalize(grey).pixels.shape == (28, 28)
