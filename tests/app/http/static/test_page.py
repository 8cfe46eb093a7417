"""The front page, in a real browser against the real service: drawing, uploading pictures, and errors.

Where the service cannot be brought to answer so (overload just then, evidence known pixel for pixel), Playwright
answers in its place: those tests say "stub".
"""

import base64
import hashlib
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from app.http.routes.pages import STATIC
from tests.support.browser import SEVEN, draw, launch, needs_chromium, on_pad, watching
from tests.support.drawn_digits import draw_one
from tests.support.examples import make_examples
from tests.support.pictures import Grey, encode, heic, png
from tests.support.running import ROOT, Server, running

pytestmark = [pytest.mark.browser, needs_chromium]
NUMBER = ROOT / "docs/images/number.jpg"  # a photograph of 513912

# Counts what the page asks, keeps the last body that it sent, and can hold the answers back.
WATCH = """
  window.watched = {underWay: 0, most: 0, paths: [], body: null, delay: 0, gate: null};
  const {open, send} = XMLHttpRequest.prototype;
  XMLHttpRequest.prototype.open = function (method, path) {
    this.path = path;
    open.call(this, method, path);
  };
  XMLHttpRequest.prototype.send = function (body) {
    watched.paths.push(this.path);
    watched.body = body;
    const {gate} = watched;
    watched.most = Math.max(watched.most, ++watched.underWay);
    const {onload} = this;
    this.onload = async () => {
      await new Promise((done) => setTimeout(done, watched.delay));
      await gate;
      watched.underWay -= 1;
      onload();
    };
    for (const end of ["abort", "error"]) this.addEventListener(end, () => { watched.underWay -= 1; });
    send.call(this, body);
  };
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright, launch(playwright.chromium) as browser:
        yield browser


@pytest.fixture
def opened(server: Server, browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """The opened page, and a list of everything that goes wrong on it."""
    with watching(browser, viewport={"width": 1000, "height": 900}) as (page, faults):
        page.add_init_script(WATCH)
        page.goto(f"{server.url}/")
        yield page, faults


def expect_digit(page: Page, text: str) -> None:
    expect(page.locator("#digit")).to_have_text(text)


def expect_state(page: Page, text: str) -> None:
    expect(page.locator("#answer")).to_have_attribute("data-state", text)


def wait_for(page: Page, condition: str) -> None:
    """Wait for a condition in the page. Playwright's own way needs eval, which the page's policy forbids."""
    deadline = time.monotonic() + 15
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


def settle(page: Page) -> None:
    """Wait until every change has its answer."""
    page.wait_for_timeout(250)  # the page waits for 120 ms before it asks
    wait_for(page, "document.getElementById('answer').ariaBusy === 'false'")


def choose(page: Page, data: bytes, name: str = "picture.png", kind: str = "image/png") -> None:
    page.locator("#choose").set_input_files({"name": name, "mimeType": kind, "buffer": data})


def sent(page: Page) -> bytes:
    """Return the last picture that the page sent."""
    script = "async () => Array.from(new Uint8Array(await watched.body.arrayBuffer()))"
    return bytes(page.evaluate(script))


def drop(page: Page, data: bytes, name: str, kind: str) -> None:
    page.evaluate(
        """([data, name, type]) => {
          const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], name, {type}));
          const options = {dataTransfer, bubbles: true, cancelable: true};
          document.body.dispatchEvent(new DragEvent("dragover", options));
          document.body.dispatchEvent(new DragEvent("drop", options));
        }""",
        [base64.b64encode(data).decode(), name, kind],
    )


def pixels(page: Page, canvas: str) -> Grey:
    """Return the pixels of a canvas: (height, width, 4)."""
    data = page.evaluate("id => document.getElementById(id).toDataURL()", canvas)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGBA"))


def problem(status: int, title: str, detail: str = "", headers: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the problem that a stub answers with."""
    body = {"type": "urn:stub", "title": title, "status": status, "detail": detail, "request_id": "stub-1"}
    return {
        "status": status,
        "body": json.dumps(body),
        "headers": {"Content-Type": "application/problem+json"} | (headers or {}),
    }


def only_has_status(faults: list[str], status: int) -> bool:
    """Return whether the only faults are answers with this status, which browsers log as console errors."""
    return bool(faults) and all(f"status of {status}" in fault for fault in faults)


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


def test_a_refusal_of_the_service_is_shown(opened: tuple[Page, list[str]]) -> None:
    """For a file that is not a picture, the page shows the service's message and advice, until the next picture."""
    page, faults = opened
    choose(page, b"not a picture at all", "notes.txt", "text/plain")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Unsupported image type")
    expect(alert).to_contain_text("Most Compatible")
    expect(alert).to_contain_text(re.compile("Request [0-9a-f]{16}"))
    expect(page.locator("#result")).to_be_hidden()
    expect(page.locator("#hint")).to_have_text("This file cannot be shown")
    page.get_by_role("button", name="Example: a 7").click()
    expect_digit(page, "7")
    expect(page.locator("#trouble")).to_be_hidden()
    assert only_has_status(faults, 415)


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


def test_the_page_retries_an_overloaded_service(opened: tuple[Page, list[str]]) -> None:
    """Stub: after a 503 the page says when it retries, retries by itself, and gives up after a few attempts."""
    page, faults = opened
    asked = []

    def overloaded(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) in (1, 3, 4, 5, 6):
            route.fulfill(**problem(503, "The service is overloaded", headers={"Retry-After": "1"}))
        else:
            route.continue_()

    page.route("**/predict*", overloaded)
    page.get_by_role("button", name="Example: a 7").click()
    expect(page.get_by_role("alert")).to_contain_text("Trying again in 1 s.")
    expect_digit(page, "7")
    assert len(asked) == 2
    page.get_by_role("button", name="Example: a 3").click()
    expect(page.get_by_role("alert")).to_contain_text("Try again in a minute.", timeout=10_000)
    assert len(asked) == 6
    page.get_by_role("button", name="Try again").click()
    expect_digit(page, "3")
    assert only_has_status(faults, 503)


def test_an_api_key_is_requested_and_kept_only_in_memory(browser: Browser) -> None:
    """After a 401 the page shows a field for the key. It sends the key as X-API-Key and never stores it."""
    hashed = hashlib.sha256(b"open sesame").hexdigest()
    with running(DIGITS_API_KEYS=hashed) as server, watching(browser) as (page, faults):
        page.goto(f"{server.url}/")
        page.get_by_role("button", name="Example: a 7").click()
        expect(page.get_by_role("alert")).to_contain_text("This service requires an API key.")
        for key in ("wrong", "open sesame"):
            page.get_by_label("API key").fill(key)
            page.get_by_role("button", name="Use this key").click()
            if key == "wrong":
                expect(page.get_by_role("alert")).to_contain_text("This API key is not valid.")
        expect_digit(page, "7")
        expect(page.get_by_label("API key")).to_be_hidden()
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
        assert page.get_by_label("API key").input_value() == ""
        assert "sesame" not in page.url
        assert "sesame" not in server.log.read_text()
        assert only_has_status(faults, 401)


def test_it_reads_again_when_the_connection_returns(opened: tuple[Page, list[str]]) -> None:
    """Offline, the page says so, keeps the drawing, and reads it as soon as the connection is back."""
    page, faults = opened
    draw(page)
    expect_digit(page, "7")
    page.context.set_offline(True)
    draw(page, [(0.3, 0.5), (0.6, 0.5)])
    expect(page.get_by_role("alert")).to_contain_text("You are offline.")
    page.context.set_offline(False)
    expect_digit(page, "7")
    expect(page.locator("#trouble")).to_be_hidden()
    assert all("ERR_INTERNET_DISCONNECTED" in fault or "failed:" in fault for fault in faults)


def test_it_asks_an_unreachable_service_again(opened: tuple[Page, list[str]]) -> None:
    """Stub: while nothing answers, the page says so, and asks again by itself, ever less often."""
    page, faults = opened
    asked = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) <= 2:
            route.abort("connectionrefused")
        else:
            route.continue_()

    page.route("**/predict*", refuse)
    page.get_by_role("button", name="Example: a 7").click()
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached.")
    expect(page.locator("#digit")).to_have_text("7", timeout=15_000)
    assert len(asked) == 3
    assert all("ERR_CONNECTION_REFUSED" in fault or "failed:" in fault for fault in faults)


def test_drawing_on_does_not_put_off_the_next_try(opened: tuple[Page, list[str]]) -> None:
    """Stub: requests that fail during a stroke are no retries: the page asks again two seconds after the last one."""
    page, _ = opened
    page.clock.install()
    refused = []

    def refuse(route: Route) -> None:
        refused.append(route.request.url)
        route.abort("connectionrefused")

    page.route("**/predict*", refuse)
    draw(page, lift=False)
    for shift in (0, 0.01) * 10:
        page.mouse.move(*on_pad(page, [(0.46, 0.84 + shift)])[0])
        page.clock.run_for(200)
    assert len(refused) > 5  # as retries, they would put off the next one by half a minute
    page.mouse.up()
    page.clock.run_for(200)
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached.")
    page.unroute("**/predict*")
    page.clock.run_for(2_500)
    expect_digit(page, "7")


def test_an_error_can_be_dismissed(opened: tuple[Page, list[str]]) -> None:
    """After that, the page looks as at the start, and the next picture is read."""
    page, faults = opened
    choose(page, b"not a picture at all", "notes.txt", "text/plain")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator("#trouble")).to_be_hidden()
    expect_state(page, "idle")
    page.get_by_role("button", name="Example: a 7").click()
    expect_digit(page, "7")
    assert only_has_status(faults, 415)


EVIDENCE = [[(column - row) / 27 for column in range(28)] for row in range(28)]


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
