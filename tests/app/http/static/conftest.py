"""The front page, opened in a real browser.

Where the service cannot be brought to answer so (overload just then, evidence known pixel for pixel), Playwright
answers in its place: those tests say "stub".
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.running import Server

if TYPE_CHECKING:  # the base install does not have it
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    from tests.support.browser import launch

    with sync_playwright() as playwright, launch(playwright.chromium) as browser:
        yield browser


@pytest.fixture
def opened(server: Server, browser: "Browser") -> Iterator[tuple["Page", list[str]]]:
    """The opened page, and a list of everything that goes wrong on it."""
    from tests.support.browser import watching
    from tests.support.front_page import WATCH

    with watching(browser, viewport={"width": 1000, "height": 900}) as (page, faults):
        page.add_init_script(WATCH)
        page.goto(f"{server.url}/")
        yield page, faults
