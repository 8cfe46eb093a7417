"""The front page, in a real browser against the real service: drawing, and the requests that it sends."""

import re
import time
from pathlib import Path

import numpy as np
import pytest

from app.http.routes.pages import STATIC
from tests.support.examples import make_examples
from tests.support.running import Server

pytest.importorskip("playwright", reason="playwright is not in the base install")

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import SEVEN, draw, needs_chromium, on_pad, watching
from tests.support.front_page import expect_digit, expect_state, pixels, sent, settle, wait_for

pytestmark = [pytest.mark.browser, needs_chromium]


def test_a_drawn_seven_is_read(opened: tuple[Page, list[str]]) -> None:
    """A 7 drawn with the mouse is read. The page shows ten bars, what the network saw, and the time that it took."""
    page, faults = opened
    expect_state(page, "idle")
    with page.expect_response("**/predict?preview=true") as answered:
        draw(page, lift=False)
        expect_digit(page, "7")  # while the button is still down
    page.mouse.up()
    assert answered.value.headers["server-timing"]
    expect_state(page, "accepted")
    expect(page.locator("#sentence")).to_have_text("This is a 7. I'm sure.")
    expect(page.locator("#bars li")).to_have_count(10)
    expect(page.locator("#bars .chosen .label")).to_have_text("7")
    # All at once: the answer to the last part of the stroke may still come.
    shares = page.evaluate(
        "[...document.querySelectorAll('#bars li')].map(bar => +bar.style.getPropertyValue('--share'))"
    )
    assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert int(np.argmax(shares)) == 7
    expect(page.locator("#timing")).to_have_text(
        re.compile(r"^Answered in [\d.]+ ms: opening the picture [\d.]+ ms, waiting [\d.]+ ms, reading [\d.]+ ms, and ")
    )
    expect(page.locator("#treatment")).to_have_text(
        re.compile("from a PNG of 280 . 280. .*Dark and light were swapped")
    )
    expect(page.locator("#spoken")).to_have_text(re.compile(r"^This is a 7\. I'm sure\."))  # to a screen reader
    expect(page.locator("#model")).to_have_text("digitnet-1.7.0")
    seen = pixels(page, "preview")[..., 0]
    assert seen.max() > 200
    assert seen[0].max() == seen[-1].max() == 0
    assert faults == []


def test_a_finger_draws_and_does_not_scroll(server: Server, browser: Browser) -> None:
    """On a phone, a finger on the pad writes a 7. The page does not scroll, and is not wider than the screen."""
    with watching(browser, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as (page, faults):
        page.goto(f"{server.url}/")
        finger = page.context.new_cdp_session(page)
        kind = "touchStart"
        for x, y in on_pad(page, SEVEN):
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
            kind = "touchMove"
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        expect_digit(page, "7")
        expect_state(page, "accepted")
        assert page.evaluate("scrollY") == 0
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.get_by_role("button", name="Example: a 3").click()  # below the pad
        expect_digit(page, "3")
        expect(page.locator("#pad")).to_be_in_viewport(ratio=1)
        expect(page.locator("#digit")).to_be_in_viewport(ratio=0.5)
        assert faults == []


def test_the_page_sends_one_request_at_a_time(opened: tuple[Page, list[str]]) -> None:
    """The page sends one request at a time, however slow the answers are. The last one contains the whole drawing."""
    page, faults = opened
    page.evaluate("watched.delay = 300")
    draw(page, SEVEN[:4])
    wait_for(page, "watched.underWay === 1")
    draw(page, SEVEN[3:])
    expect_digit(page, "7")
    expect_state(page, "accepted")
    settle(page)
    assert page.evaluate("watched.most") == 1
    assert page.evaluate("watched.paths.length") >= 2
    whole = sent(page)
    page.evaluate("watched.delay = 0")
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Redo").click()  # asks anew for what is on the pad
    settle(page)
    assert sent(page) == whole
    assert faults == []


def test_a_stroke_does_not_send_a_request_per_point(opened: tuple[Page, list[str]]) -> None:
    """During a stroke, the page sends at most one request per 120 ms, however fast the answers are."""
    page, faults = opened
    started = time.monotonic()
    draw(page, SEVEN, lift=False)
    for _ in range(40):
        for x, y in on_pad(page, [(0.46, 0.84), (0.47, 0.85)]):
            page.mouse.move(x, y)
            page.wait_for_timeout(5)
    asked, elapsed = page.evaluate("watched.paths.length"), time.monotonic() - started
    page.mouse.up()
    assert 2 <= asked <= 2 + elapsed / 0.12
    assert faults == []


def test_an_outdated_answer_is_dropped(opened: tuple[Page, list[str]]) -> None:
    """The page never shows the answer to a drawing that has been replaced."""
    page, faults = opened
    page.evaluate(
        """() => {
          window.shown = [];
          const digit = document.getElementById("digit");
          new MutationObserver(() => shown.push(digit.textContent)).observe(digit, {childList: true});
        }"""
    )
    close_gate = "watched.gate = new Promise((open) => { watched.open = open; }), null"
    page.evaluate(close_gate)
    draw(page)
    wait_for(page, "watched.underWay === 1")
    page.evaluate("watched.gate = null")
    page.get_by_role("button", name="Example: a 3").click()
    expect_digit(page, "3")
    page.evaluate("watched.open()")
    wait_for(page, "watched.underWay === 0")
    page.wait_for_timeout(200)
    assert page.evaluate("shown").count("7") == 0
    page.evaluate(close_gate)
    page.get_by_role("button", name="Example: a 7").click()
    wait_for(page, "watched.underWay === 1")
    page.get_by_role("button", name="Clear").click()
    page.evaluate("watched.open()")
    wait_for(page, "watched.underWay === 0")
    page.wait_for_timeout(200)
    expect_state(page, "idle")
    assert page.evaluate("shown").count("7") == 0
    assert faults == []


def test_undo_clear_and_download(opened: tuple[Page, list[str]]) -> None:
    """Undo takes back a stroke, a clear or a picture. Download saves the picture that was sent."""
    page, faults = opened
    undo, clear, download = (page.get_by_role("button", name=name) for name in ("Undo", "Clear", "Download"))
    for button in (undo, clear, download):
        expect(button).to_be_disabled()
    draw(page)
    expect_digit(page, "7")
    settle(page)
    with page.expect_download() as saved:
        download.click()
    assert saved.value.suggested_filename == "digit.png"
    assert Path(saved.value.path()).read_bytes() == sent(page)
    draw(page, [(0.2, 0.9), (0.8, 0.1)])
    undo.click()
    expect_state(page, "accepted")
    expect_digit(page, "7")
    clear.click()
    expect_state(page, "idle")
    expect(clear).to_be_disabled()
    page.keyboard.press("Control+z")
    expect_digit(page, "7")
    page.get_by_role("button", name="Example: a 4").click()
    expect_digit(page, "4")
    undo.click()
    expect_digit(page, "7")
    undo.click()
    expect_state(page, "idle")
    expect(undo).to_be_disabled()
    assert faults == []


def test_the_examples_match_their_command() -> None:
    """The example files are the golden digits of the released model, pixel for pixel."""
    made = make_examples()
    assert sorted(made) == sorted(file.name for file in (STATIC / "examples").iterdir())
    for name, expected in made.items():
        np.testing.assert_array_equal(np.asarray(Image.open(STATIC / "examples" / name)), expected)


def test_no_style_or_script_is_inline() -> None:
    """No page contains a style attribute, a style element, an event handler or an inline script."""
    for page in STATIC.glob("*.html"):
        text = page.read_text()
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text), page.name
        assert all("src=" in script for script in re.findall(r"<script[^>]*>", text)), page.name
