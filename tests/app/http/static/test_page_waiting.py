"""The front page while an answer is on its way: it takes the old one away, and shows that it is working."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest

from tests.support.pictures import encode
from tests.support.running import Server

pytest.importorskip("playwright", reason="playwright is not in the base install")

from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.support.browser import browsing, needs_chromium

pytestmark = [pytest.mark.browser, needs_chromium]


def test_the_old_answer_disappears_at_once(server: Server) -> None:
    """Stub: while the answer to the next picture is held back, there is no digit, and the page says that it reads."""
    with browsing() as (page, faults):
        page.goto(f"{server.url}/")
        page.get_by_role("button", name="Example: a 7").click()
        expect(page.locator("#digit")).to_have_text("7")
        held: list[Route] = []
        page.route("**/predict*", lambda route: held.append(route))
        page.get_by_role("button", name="Example: a 3").click()
        expect(page.locator("#sentence")).to_have_text("Reading…")
        assert page.locator("#digit").inner_text() == ""
        expect(page.locator("#check")).to_be_hidden()
        expect(page.get_by_role("button", name="Show why")).to_be_hidden()
        held[0].continue_()
        expect(page.locator("#digit")).to_have_text("3")
        assert faults == []


def test_a_slow_upload_shows_its_progress(server: Server) -> None:
    """At 200 KB per second, a large photograph shows how much of it was sent, and is read in the end."""
    noise = np.random.default_rng(0).integers(0, 60, (1400, 1400)).astype(np.uint8)
    photo = Image.fromarray(200 - noise)
    photo.paste(0, (650, 400, 720, 1000))
    with browsing() as (page, faults):
        page.goto(f"{server.url}/")
        throttle(page, bytes_per_s=200_000)
        page.locator("#choose").set_input_files(
            {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": encode(photo, "JPEG", quality=85)}
        )
        expect(page.locator("#sentence")).to_have_text(re.compile(r"Sending… [1-9]\d? %"))
        expect(page.locator("#answer")).to_have_attribute("data-state", re.compile("accepted|doubtful"), timeout=30_000)
        assert faults == []


def throttle(page: Page, bytes_per_s: int) -> None:
    """Limit how fast the page may upload."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_s}
    session.send("Network.emulateNetworkConditions", limits)


READING = {
    "text": "12\n7",
    "confidence": 0.8,
    "accepted": False,
    "reason": "unread_ink",
    "lines": [
        {"text": "12", "numbers": ["1", "2"], "confidence": 0.9, "digits": []},
        {"text": "7", "numbers": ["7"], "confidence": 0.9, "digits": []},
    ],
    "input": {"format": "PNG", "width": 28, "height": 28, "inverted": False, "rotation": 90},
    "model": "stub-1",
}


def test_a_turned_page_with_unread_ink_says_so(server: Server) -> None:
    """Stub of /read: the page shows the gap between two numbers, says that it turned the picture, and asks to check."""
    box = {"left": 1, "top": 1, "width": 5, "height": 5}
    lines = [
        {
            **line,
            "digits": [
                {"digit": int(d), "confidence": 0.9, "accepted": True, "reason": None, "box": box} for d in text
            ],
        }
        for line, text in zip(READING["lines"], ("12", "7"), strict=True)  # type: ignore[call-overload]  # a list
    ]
    with browsing() as (page, faults):
        page.route("**/read", lambda route: route.fulfill(json={**READING, "lines": lines}))
        page.goto(f"{server.url}/")
        page.get_by_role("switch", name="Always a whole number").check()
        page.get_by_role("button", name="Example: a 7").click()
        expect(page.locator("#sentence")).to_have_text("I could not read all the ink.")
        expect(page.locator("#advice")).to_have_text("Please check the picture. I turned the picture by 90°.")
        expect(page.locator("#digit .line")).to_have_text(["12", "7"])
        assert page.locator("#digit .apart").all_inner_texts() == ["2"]
        assert faults == []


def test_text_and_further_files_are_explained(server: Server, seven_png: Path) -> None:
    """Of two dropped files, the first is read. Pasted text is no picture. The page says so."""
    data = base64.b64encode(seven_png.read_bytes()).decode()
    with browsing() as (page, faults):
        page.goto(f"{server.url}/")
        page.evaluate(
            """(data) => {
              const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
              const dataTransfer = new DataTransfer();
              const type = "image/png";
              for (const name of ["a.png", "b.png"]) dataTransfer.items.add(new File([bytes], name, {type}));
              document.body.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true, cancelable: true}));
            }""",
            data,
        )
        expect(page.locator("#digit")).to_have_text("7")
        expect(page.locator("#notice")).to_contain_text("the first of these 2")
        page.evaluate(
            """() => {
              const clipboardData = new DataTransfer();
              clipboardData.setData("text/plain", "42");
              document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true}));
            }"""
        )
        expect(page.locator("#notice")).to_contain_text("text, not a picture")
        assert faults == []
