"""The pad of the front page: a dot, redo, and the keyboard's pen."""

import pytest

from tests.support.running import Server

pytest.importorskip("playwright", reason="playwright is not in the base install")

from playwright.sync_api import Page, expect

from tests.support.browser import browsing, draw, needs_chromium

pytestmark = [pytest.mark.browser, needs_chromium]

COUNT_INK = """() => {
  const {data} = pad.getContext("2d").getImageData(0, 0, pad.width, pad.height);
  let count = 0;
  for (let index = 3; index < data.length; index += 4) count += data[index] > 128;
  return count;
}"""


def count_ink(page: Page) -> int:
    """Return the number of pixels of the pad with ink."""
    ink: int = page.evaluate(COUNT_INK)
    return ink


def test_a_click_draws_a_dot(server: Server) -> None:
    """A click without a movement leaves a round dot as wide as the pen."""
    with browsing() as (page, faults):
        page.goto(f"{server.url}/")
        assert count_ink(page) == 0
        page.locator("#pad").click(position={"x": 100, "y": 100})
        width = 0.06 * page.locator("#pad").evaluate("pad => pad.width")
        assert count_ink(page) == pytest.approx(0.785 * width**2, rel=0.15)
        assert faults == []


def test_redo_brings_back_what_undo_took(server: Server) -> None:
    """By button, Ctrl-Shift-Z and Ctrl-Y. A new stroke forgets what was undone."""
    with browsing() as (page, faults):
        page.goto(f"{server.url}/")
        redo = page.get_by_role("button", name="Redo")
        expect(redo).to_be_disabled()
        draw(page)
        drawn = count_ink(page)
        for press in ("click", "Control+Shift+Z", "Control+y"):
            page.keyboard.press("Control+z")
            assert count_ink(page) == 0
            redo.click() if press == "click" else page.keyboard.press(press)
            assert count_ink(page) == drawn
        expect(page.locator("#digit")).to_have_text("7")
        page.keyboard.press("Control+z")
        draw(page, [(0.5, 0.2), (0.5, 0.8)])
        expect(redo).to_be_disabled()
        assert faults == []


def test_the_keyboard_draws(server: Server) -> None:
    """With the arrow keys and Space alone, a 1 is written and read. The page does not scroll."""
    with browsing() as (page, faults):
        page.goto(f"{server.url}/")
        page.locator("#pad").focus()
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Space")
        for _ in range(12):
            page.keyboard.press("ArrowDown")
        page.keyboard.press("Space")
        expect(page.locator("#digit")).to_have_text("1")
        assert page.evaluate("scrollY") == 0
        drawn = count_ink(page)
        page.keyboard.press("ArrowRight")  # the pen is lifted
        page.keyboard.press("Tab")  # the circle that shows the pen disappears
        assert count_ink(page) < drawn
        expect(page.locator("#digit")).to_have_text("1")
        assert faults == []
