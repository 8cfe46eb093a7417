"""A real browser: Debian's Chromium, driven by Playwright. Without it, the tests that look at pages are skipped."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt install chromium)")


@contextmanager
def browsing(**options: object) -> Iterator[tuple[Page, list[str]]]:
    """A page, and what went wrong on it: console errors, failed requests, and requests to anywhere but 127.0.0.1."""
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(**options)  # type: ignore[arg-type]  # Playwright's own keyword arguments
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("http://127.0.0.1:", "data:", "blob:"))
                else faults.append(f"elsewhere: {request.url}")
            ),
        )
        try:
            yield page, faults
        finally:
            browser.close()
