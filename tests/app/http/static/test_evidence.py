"""The evidence for an answer, drawn over the picture on the front page."""

import base64
import io
import json

import numpy as np
import pytest

from tests.support.examples import make_examples
from tests.support.pictures import png

pytest.importorskip("playwright", reason="playwright is not in the base install")

from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.support.browser import SEVEN, draw, needs_chromium
from tests.support.front_page import EVIDENCE, choose, expect_digit, pixels, settle

pytestmark = [pytest.mark.browser, needs_chromium]


def test_the_evidence_is_drawn_over_the_picture(opened: tuple[Page, list[str]]) -> None:
    """Stub of /explain: the strongest pixels for the digit are orange and those against it blue, for any digit."""
    page, faults = opened
    bodies, addresses = [], []

    def explain(route: Route) -> None:
        bodies.append(json.loads(route.request.post_data or "")["image"])
        addresses.append(route.request.url.rpartition("/")[2])
        route.fulfill(json={"digit": 7, "evidence": EVIDENCE})

    page.route("**/explain*", explain)
    page.get_by_role("button", name="Example: a 7").click()
    expect_digit(page, "7")
    before = pixels(page, "pad").astype(int)
    page.get_by_role("button", name="Show why").click()
    expect(page.locator("#legend")).to_be_visible()
    after = pixels(page, "pad").astype(int)
    side = len(after)
    red, blue = after[..., 0], after[..., 2]
    assert red[side // 56, -side // 56] > 200 > 100 > blue[side // 56, -side // 56]  # speaks for it
    assert blue[-side // 56, side // 56] > 200 > 100 > red[-side // 56, side // 56]  # against it
    middles = ((np.arange(28) + 0.5) * side / 28).astype(int)
    is_drawn = (after != before).any(axis=2)[np.ix_(middles, middles)]
    np.testing.assert_array_equal(is_drawn, np.abs(EVIDENCE) >= 21 / 27)  # the two corners: 56 of 784 pixels
    image = Image.open(io.BytesIO(base64.b64decode(bodies[0].partition(",")[2])))
    np.testing.assert_array_equal(
        np.asarray(image), make_examples()["7.png"]
    )  # what the network saw is what is explained
    page.get_by_label("Evidence for which digit").select_option("1")
    settle(page)
    assert addresses == ["explain", "explain?digit=1"]
    page.get_by_role("button", name="Show why").click()
    np.testing.assert_array_equal(pixels(page, "pad"), before)
    assert faults == []


def test_the_evidence_lies_on_the_ink(opened: tuple[Page, list[str]]) -> None:
    """Stub of /explain: evidence at the ink of the 28x28 picture is drawn at the ink of a drawing in a corner."""
    page, faults = opened
    page.route(
        "**/explain*",
        lambda route: route.fulfill(json={"digit": 7, "evidence": evidence_at_ink(route.request.post_data or "")}),
    )
    draw(page, [(0.05 + 0.4 * x, 0.5 + 0.4 * y) for x, y in SEVEN])
    expect_digit(page, "7")
    settle(page)
    before = pixels(page, "pad").astype(int)
    page.get_by_role("button", name="Show why").click()
    expect(page.locator("#legend")).to_be_visible()
    after = pixels(page, "pad").astype(int)
    is_ink = (before[..., 3] == 255) & (before[..., 0] < 60)
    is_orange = (after[..., 0] - after[..., 2]) > 100
    assert is_orange[is_ink].mean() > 0.85
    assert is_orange[~is_ink].mean() < 0.03
    assert faults == []


def evidence_at_ink(body: str) -> list[list[float]]:
    """Return evidence for the digit wherever the 28x28 picture in a request has ink."""
    image = Image.open(io.BytesIO(base64.b64decode(json.loads(body)["image"].partition(",")[2])))
    evidence: list[list[float]] = (np.asarray(image) > 100).astype(float).tolist()
    return evidence


def test_the_service_s_own_evidence_is_shown(opened: tuple[Page, list[str]]) -> None:
    """The real /explain: what counts most for a 7 is orange. Much of it counts against a 1, and is blue then."""
    page, faults = opened
    page.get_by_role("button", name="Example: a 7").click()
    expect_digit(page, "7")
    page.get_by_role("button", name="Show why").click()
    expect(page.locator("#legend")).to_be_visible()
    shown = pixels(page, "pad").astype(int)
    warm = shown[..., 0] - shown[..., 2]
    assert warm.max() > 30
    page.get_by_label("Evidence for which digit").select_option("1")
    settle(page)
    shown = pixels(page, "pad").astype(int)
    assert (shown[..., 0] - shown[..., 2]).min() < -30
    assert faults == []


def test_the_evidence_of_no_digit_says_what_it_cannot_show(opened: tuple[Page, list[str]]) -> None:
    """Three digits over one another are none. The evidence is for the most similar digit, and a sentence says so."""
    page, faults = opened
    of = make_examples()
    choose(page, png(of["7.png"] | of["0.png"] | of["5.png"]))
    expect(page.locator("#sentence")).to_have_text("I can't read this as a digit.")
    page.get_by_role("button", name="Show why").click()
    note = page.get_by_text("The colours cannot show why this is no digit.")
    expect(note).to_be_visible()
    page.get_by_role("button", name="Example: a 7").click()
    expect(page.locator("#legend")).to_be_visible()
    expect(note).to_be_hidden()
    assert faults == []
