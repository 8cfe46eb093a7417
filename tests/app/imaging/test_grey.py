"""Grey: an image of any mode has the same grey whether it is converted at once or in strips."""

import numpy as np
import pytest
from PIL import Image

from app.imaging import grey
from app.imaging.grey import to_grey

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I"]


def make_image(mode: str) -> Image.Image:
    """Return noise of 50x40 pixels in a mode."""
    random = np.random.default_rng(1)
    if mode.startswith("I"):
        levels = random.integers(0, 65536, (40, 50))
        return Image.fromarray(levels.astype(np.uint16 if mode == "I;16" else np.int32))
    return Image.fromarray(random.integers(0, 256, (40, 50, 4)).astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("strip_pixels", [1, 50, 130, 1_999, 2_000])
@pytest.mark.parametrize("mode", MODES)
def test_strips_give_the_same_grey(mode: str, strip_pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few rows are converted at once, the grey levels do not change."""
    image = make_image(mode)
    expected = to_grey(image)
    assert expected.shape == (40, 50)
    monkeypatch.setattr(grey, "STRIP_PIXELS", strip_pixels)
    np.testing.assert_array_equal(to_grey(image), expected)


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0)])
def test_all_strips_lie_on_the_same_paper(ink: int, paper: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper follows from the ink of the whole picture, also where a strip has none, or ink of the other kind."""
    pixels = np.full((40, 50, 2), ink, np.uint8)
    pixels[..., 1] = 0
    pixels[5:15, 10:40, 1] = 255
    pixels[30, 20] = paper, 255
    monkeypatch.setattr(grey, "STRIP_PIXELS", 100)
    levels = to_grey(Image.fromarray(pixels, "LA"))
    assert (levels[5:15, 10:40] == ink).all()
    levels[5:15, 10:40] = paper
    assert (levels == paper).all()


def test_a_colour_that_stands_for_transparency_is_paper() -> None:
    """A PNG may name a colour that is transparent. It becomes paper in every strip."""
    image = Image.new("RGB", (50, 40), (9, 9, 9))
    image.paste((200, 200, 200), (10, 10, 20, 20))
    image.info["transparency"] = (9, 9, 9)
    levels = to_grey(image)
    assert (levels[0, 0], levels[15, 15]) == (0, 200)
