"""What the front page says about an answer."""

import re

import httpx
import numpy as np
import pytest

from tests.support.drawn_digits import draw_one
from tests.support.examples import make_examples
from tests.support.pictures import png
from tests.support.running import Server

pytest.importorskip("playwright", reason="playwright is not in the base install")

from playwright.sync_api import Page, expect

from tests.support.browser import needs_chromium
from tests.support.front_page import NUMBER, choose, expect_digit, expect_state, pixels

pytestmark = [pytest.mark.browser, needs_chromium]


def test_a_whole_number_is_read(server: Server, opened: tuple[Page, list[str]]) -> None:
    """A number on synthetic paper is found without any switch, and the picture shows a box around each digit."""
    page, faults = opened
    page.locator("#choose").set_input_files(NUMBER)
    expect_digit(page, "513912")
    expect_state(page, "accepted")
    expect(page.locator("#bars .chosen .label")).to_have_text(list("513912"))
    expect(page.get_by_role("heading", name="Write a number.")).to_be_visible()
    expect(page.locator("#sentence")).to_have_text("I read 513912. I'm sure.")
    expect(page.locator("#spoken")).to_have_text(re.compile("^5 1 3 9 1 2. I read"))
    reading = httpx.post(f"{server.url}/read", content=NUMBER.read_bytes()).json()
    shown = pixels(page, "pad").astype(int)
    side = shown.shape[0]
    scale = side / reading["input"]["width"]
    top = (side - reading["input"]["height"] * scale) / 2
    boxes = [each["box"] for each in reading["lines"][0]["digits"]]
    assert len(boxes) == 6
    for box in boxes:
        y = round(top + (box["top"] + box["height"] / 2) * scale)
        x = round(box["left"] * scale - 3)
        near = shown[y, x - 2 : x + 3, :3]
        assert np.abs(near - (0xB9, 0x47, 0x00)).sum(axis=1).min() < 30, "no mark is left of this digit"
    assert faults == []


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("blank", "I see nothing to read."),
        ("uncertain", "robably a 1, maybe a 7"),
        ("not_a_digit", "I can't read this as a digit."),
        ("several_digits", "This is more than one digit."),
    ],
)
def test_each_reason_is_explained_in_plain_words(
    server: Server, opened: tuple[Page, list[str]], reason: str, words: str
) -> None:
    """A refused picture shows why and an outlined digit. Several digits are a number unless the user wants one."""
    page, faults = opened
    of = make_examples()
    picture = {
        "blank": np.full((200, 200), 240, np.uint8),
        "uncertain": draw_one(upstroke=0.5, angle=30, lean=0.1, pen=7),
        "not_a_digit": of["7.png"] | of["0.png"] | of["5.png"],
        "several_digits": of["number.png"],
    }[reason]
    data = png(np.ascontiguousarray(picture))
    answer = httpx.post(f"{server.url}/predict", content=data, headers={"Content-Type": "image/png"}).json()
    assert answer["reason"] == reason  # else this is the wrong picture
    choose(page, data)
    if reason == "several_digits":
        expect_digit(page, "40719")
        page.get_by_role("button", name="Read one digit only").click()
    expect_state(page, "doubtful")
    expect(page.locator("#sentence")).to_contain_text(words)
    assert len(page.locator("#advice").inner_text()) > 10
    assert page.locator("#digit").evaluate("digit => getComputedStyle(digit).color") == "rgba(0, 0, 0, 0)"
    as_number = page.get_by_role("button", name="Read the whole number")
    expect(as_number).to_be_visible(visible=reason == "several_digits")
    if reason == "several_digits":
        as_number.click()
        expect_digit(page, "40719")
    assert faults == []
