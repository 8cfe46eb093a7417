"""The live camera of the front page."""

import re
from pathlib import Path

import pytest

from tests.support.pictures import encode
from tests.support.running import Server

pytest.importorskip("playwright", reason="playwright is not in the base install")

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import SEVEN, launch, needs_chromium, watching
from tests.support.front_page import expect_digit

pytestmark = [pytest.mark.browser, needs_chromium]


def test_a_picture_can_be_taken_with_the_live_camera(server: Server, browser: Browser, tmp_path: Path) -> None:
    """The live camera (here a file with a 7 on paper) shows its picture, and the picture that is taken is read."""
    paper = Image.new("RGB", (640, 480), (210, 205, 200))
    ImageDraw.Draw(paper).line(
        [(160 + 320 * x, 80 + 320 * y) for x, y in SEVEN], fill=(40, 40, 60), width=22, joint="curve"
    )
    film = tmp_path / "paper.mjpeg"
    film.write_bytes(encode(paper, "JPEG", quality=90) * 3)
    camera = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    )
    with launch(browser.browser_type, *camera) as filming, watching(filming) as (page, faults):
        page.goto(f"{server.url}/")
        page.get_by_role("button", name="Live camera").click()
        shutter = page.get_by_role("button", name="Take the picture")
        expect(shutter).to_be_enabled()
        shutter.click()
        expect_digit(page, "7")
        expect(page.get_by_role("dialog")).to_be_hidden()
        assert page.evaluate("document.getElementById('video').srcObject") is None  # the camera is off
        assert faults == []


def test_without_a_camera_it_says_so(opened: tuple[Page, list[str]]) -> None:
    """Without a camera, the dialog says so and can be closed. The capture input is always available."""
    page, faults = opened
    page.get_by_role("button", name="Live camera").click()
    expect(page.locator("#camera-words")).to_have_text(
        re.compile("Choose a picture|or choose a picture"), ignore_case=True
    )
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.locator("#photograph").get_attribute("capture") == "environment"
    assert faults == []


def test_the_live_camera_is_offered_only_on_secure_pages(server: Server, browser: Browser) -> None:
    """If the browser does not consider the page secure, it shows the capture input but no live camera."""
    with watching(browser) as (page, _):
        page.add_init_script("Object.defineProperty(window, 'isSecureContext', {value: false})")
        page.goto(f"{server.url}/")
        expect(page.get_by_role("button", name="Example: a 7")).to_be_visible()
        expect(page.locator("#live")).to_be_hidden()
        expect(page.locator("#photograph")).to_be_attached()
