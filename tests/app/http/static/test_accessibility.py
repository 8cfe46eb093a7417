"""The front page for everyone: by keyboard, in light and dark, and checked by axe-core."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.support.running import Server

pytest.importorskip("playwright", reason="playwright is not in the base install")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import draw, needs_chromium, watching
from tests.support.front_page import EVIDENCE, expect_digit, expect_state, pixels, problem, settle, wait_for

pytestmark = [pytest.mark.browser, needs_chromium]


OUTLINED = """
  [document.activeElement, document.activeElement.closest("label.button")]
    .some((element) => element && getComputedStyle(element).outlineStyle === "solid")
"""


def tab_to(page: Page, selector: str) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            assert page.evaluate(OUTLINED)
            return
    raise AssertionError(f"Tab does not come to {selector}")


@pytest.mark.serial
def test_everything_but_drawing_works_by_keyboard(opened: tuple[Page, list[str]], seven_png: Path) -> None:
    """An example, a file, the switch and undo work with the keyboard alone, and the focus is always visible."""
    page, faults = opened
    # Playwright takes over file choosers from the first listener on, without waiting until Chromium knows. A listener
    # that is added just before the key is pressed can be too late.
    page.on("filechooser", lambda _: None)
    tab_to(page, "[data-example='2']")
    page.keyboard.press("Enter")
    expect_digit(page, "2")
    page.evaluate("document.activeElement.blur()")
    tab_to(page, "#choose")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(seven_png)
    expect_digit(page, "7")
    page.evaluate("document.activeElement.blur()")
    page.evaluate("scrollTo(0, 0)")
    page.reload()
    tab_to(page, "#number")
    page.keyboard.press("Space")
    expect(page.get_by_role("switch", name="Always a whole number")).to_be_checked()
    tab_to(page, "[data-example='number']")
    page.keyboard.press("Enter")
    expect_digit(page, "40719")
    page.keyboard.press("Control+z")
    expect_state(page, "idle")
    assert faults == []


def test_light_and_dark(server: Server, browser: Browser) -> None:
    """The page follows the system's colour scheme: ink and paper swap colours, the sent picture stays."""
    grounds, inks, seen = {}, {}, {}
    for scheme in ("light", "dark"):
        with watching(browser, color_scheme=scheme) as (page, faults):
            page.goto(f"{server.url}/")
            draw(page)
            expect_digit(page, "7")
            settle(page)
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            grounds[scheme] = np.mean([int(part) for part in re.findall(r"\d+", ground)])
            shown = pixels(page, "pad")
            inks[scheme] = shown[shown[..., 3] == 255][:, :3].mean()
            seen[scheme] = pixels(page, "preview")
            assert faults == []
    assert grounds["light"] > 220 > 40 > grounds["dark"]
    assert inks["light"] < 40 < 220 < inks["dark"]
    np.testing.assert_array_equal(seen["light"], seen["dark"])


@pytest.mark.parametrize(
    ("scheme", "size"), [("light", (1440, 900)), ("dark", (820, 1180)), ("light", (390, 844)), ("dark", (844, 390))]
)
def test_it_is_accessible(server: Server, browser: Browser, scheme: str, size: tuple[int, int]) -> None:
    """axe-core finds nothing in any state: an answer, a refusal, evidence (stub), a number, an error, the camera."""
    axe = Axe()
    viewport = dict(zip(("width", "height"), size, strict=True))
    with watching(browser, color_scheme=scheme, viewport=viewport, reduced_motion="reduce") as (page, _):
        page.route("**/explain*", lambda route: route.fulfill(json={"digit": 7, "evidence": EVIDENCE}))
        page.goto(f"{server.url}/")

        def check(what: str) -> None:
            wait_for(page, "document.getElementById('answer').ariaBusy !== 'true'")
            page.wait_for_timeout(300)  # until what fades has faded
            results = axe.run(page)
            assert results.violations_count == 0, f"{what}: {results.generate_report()}"

        check("empty")
        draw(page)
        expect_digit(page, "7")
        check("answered")
        page.get_by_role("button", name="Show why").click()
        page.get_by_text("Details").click()
        page.get_by_role("button", name="It is a 3").click()
        check("explained and corrected")
        page.get_by_role("button", name="Example: a whole number").click()
        expect_digit(page, "40719")
        check("a number")
        page.get_by_role("button", name="Read one digit only").click()
        expect(page.locator("#sentence")).to_contain_text("This is more than one digit.")
        check("doubted")
        page.route("**/predict*", lambda route: route.fulfill(**problem(401, "No key")))
        page.get_by_role("button", name="Example: a 7").click()
        expect(page.get_by_label("API key")).to_be_visible()
        check("in trouble")
        page.get_by_role("button", name="Live camera").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        check("the camera")
