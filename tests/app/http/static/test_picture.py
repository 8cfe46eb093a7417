"""Pictures that are given to the front page: chosen, dropped and pasted, of every size and format."""

import base64
import io
import re

import numpy as np
import pytest

from tests.support.examples import make_examples
from tests.support.pictures import Grey, encode, heic, png
from tests.support.running import running

pytest.importorskip("playwright", reason="playwright is not in the base install")

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import SEVEN, needs_chromium, watching
from tests.support.front_page import choose, drop, expect_digit, expect_state, only_has_status, sent, wait_for

pytestmark = [pytest.mark.browser, needs_chromium]


def photograph() -> bytes:
    """Return 48 megapixels with a 7 on paper, as an upright phone saves them: rotated, with EXIF."""
    upright = Image.new("L", (6048, 8064), 205)
    points = [(1500 + 3000 * x, 2500 + 3000 * y) for x, y in SEVEN]
    ImageDraw.Draw(upright).line(points, fill=45, width=190, joint="curve")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    return encode(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=85, exif=exif)


def test_a_large_photograph_is_sent_small_and_upright(opened: tuple[Page, list[str]]) -> None:
    """When 48 rotated megapixels are dropped, the page sends 1536 x 2048 upright pixels, and the 7 is read."""
    page, faults = opened
    drop(page, photograph(), "IMG_0007.JPG", "image/jpeg")
    expect(page.locator("#digit")).to_have_text("7", timeout=30_000)
    expect_state(page, "accepted")
    data = sent(page)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("JPEG", (1536, 2048))
        assert image.getexif().get(0x0112, 1) == 1
    assert len(data) < 1_000_000
    expect(page.locator("#treatment")).to_have_text(re.compile("from a JPEG of 1536 . 2048"))
    assert faults == []


def test_a_small_picture_is_sent_as_it_is(opened: tuple[Page, list[str]], seven: Grey) -> None:
    """The service gets every byte of a picture that does not need to be shrunk."""
    page, faults = opened
    choose(page, png(seven))
    expect_digit(page, "7")
    assert sent(page) == png(seven)
    assert faults == []


def test_unsupported_formats_are_converted(opened: tuple[Page, list[str]], seven: Grey) -> None:
    """AVIF, which the browser can open and the service cannot, is read. Transparency is kept."""
    page, faults = opened
    large = Image.fromarray(255 - seven).resize((560, 560), Image.Resampling.BICUBIC)
    choose(page, encode(large, "AVIF"), "seven.avif", "image/avif")
    expect_digit(page, "7")
    assert Image.open(io.BytesIO(sent(page))).format == "JPEG"
    ink = Image.new("LA", (2800, 2800), (255, 0))  # white ink on nothing, and larger than is sent
    ink.putalpha(Image.fromarray(seven).resize((2800, 2800), Image.Resampling.BICUBIC))
    choose(page, encode(ink), "ink.png")
    wait_for(page, "watched.paths.length === 2 && watched.underWay === 0")
    expect_digit(page, "7")
    expect_state(page, "accepted")
    shrunk = Image.open(io.BytesIO(sent(page)))
    assert (shrunk.format, shrunk.size, shrunk.has_transparency_data) == ("PNG", (2048, 2048), True)
    assert faults == []


def test_a_picture_can_be_pasted(opened: tuple[Page, list[str]], seven: Grey) -> None:
    """Ctrl+V reads the picture in the clipboard."""
    page, faults = opened
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async (data) => {
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          const blob = new Blob([bytes], {type: "image/png"});
          await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
        }""",
        base64.b64encode(png(seven)).decode(),
    )
    page.keyboard.press("Control+v")
    expect_digit(page, "7")
    assert faults == []


@pytest.mark.usefixtures("extra_install")
def test_a_heic_picture_is_sent_as_it_is(opened: tuple[Page, list[str]]) -> None:
    """A browser that cannot open HEIC leaves it to the service, and the page shows the digit without the picture."""
    page, faults = opened
    choose(page, heic(Image.fromarray(make_examples()["7.png"])), "IMG_1.HEIC", "image/heic")
    expect_digit(page, "7")
    expect(page.locator("#hint")).to_have_text("This file cannot be shown")
    assert faults == []


def test_a_picture_that_is_too_large_gets_advice(browser: Browser) -> None:
    """For a 413, the page says what to do and how large a picture may be."""
    with running(DIGITS_MAX_BODY_BYTES="2000") as server, watching(browser) as (page, faults):
        page.goto(f"{server.url}/")
        noise = np.random.default_rng(0).integers(0, 255, (100, 100)).astype(np.uint8)
        choose(page, png(noise))
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("The picture is too large for this service.")
        expect(alert).to_contain_text("2,000 bytes")
        expect(alert).to_contain_text("Choose a smaller picture")
        assert only_has_status(faults, 413)
