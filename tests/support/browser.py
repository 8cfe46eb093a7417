"""A real browser: Debian's Chromium, driven by Playwright. Without it, the tests that look at pages are skipped."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserType, Page, Request, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt install chromium)")

expect.set_options(timeout=20_000)  # milliseconds; a busy machine takes more than Playwright's five to render ReDoc


@contextmanager
def browsing(**options: object) -> Iterator[tuple[Page, list[str]]]:
    """A page in a browser of its own, and what went wrong on it."""
    with (
        sync_playwright() as playwright,
        launch(playwright.chromium) as browser,
        watching(browser, **options) as watched,
    ):
        yield watched


def launch(kind: BrowserType, *flags: str) -> Browser:
    return kind.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])


@contextmanager
def watching(browser: Browser, **options: object) -> Iterator[tuple[Page, list[str]]]:
    """A page with no memory, and what went wrong on it: console errors (breaches of its content security policy are
    such), failed requests, and requests to anywhere but 127.0.0.1."""
    faults: list[str] = []
    page = browser.new_page(**options)  # type: ignore[arg-type]  # Playwright's own keyword arguments
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}") if missed(request) else None)
    page.on("request", lambda request: faults.append(f"elsewhere: {request.url}") if elsewhere(request) else None)
    try:
        yield page, faults
    finally:
        page.close()


def missed(request: Request) -> bool:
    """Whether a request failed otherwise than that the page itself wanted no answer any more."""
    return request.failure != "net::ERR_ABORTED"


def elsewhere(request: Request) -> bool:
    return not request.url.startswith(("http://127.0.0.1:", "data:", "blob:"))


Points = Sequence[tuple[float, float]]

# A seven, in shares of the front page's pad: across, and down with a bend.
SEVEN: Points = [
    (0.28, 0.27),
    (0.4, 0.25),
    (0.56, 0.25),
    (0.71, 0.24),
    (0.66, 0.36),
    (0.57, 0.53),
    (0.5, 0.7),
    (0.46, 0.84),
]


def on_pad(page: Page, points: Points) -> list[tuple[float, float]]:
    """The same in pixels of the page's window."""
    page.evaluate("scrollTo(0, 0)")
    box = page.locator("#pad").bounding_box()
    assert box
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]


def draw(page: Page, points: Points = SEVEN, lift: bool = True, steps: int = 6) -> None:
    """Draw a stroke on the front page's pad with the mouse, which moves in some steps from point to point."""
    first, *rest = on_pad(page, points)
    page.mouse.move(*first)
    page.mouse.down()
    for point in rest:
        page.mouse.move(*point, steps=steps)
    if lift:
        page.mouse.up()
