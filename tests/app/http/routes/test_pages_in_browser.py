"""/docs and /redoc in a real browser: they render, work, obey their security policy and contact no other host.

The tests of the front page are in ../static.
"""

import hashlib
import re
from pathlib import Path

import httpx
import pytest

from tests.support.nginx import behind_nginx, needs_nginx
from tests.support.running import Server, running

pytest.importorskip("playwright", reason="playwright is not in the base install")

from playwright.sync_api import Page, expect

from tests.support.browser import browsing, needs_chromium

pytestmark = [pytest.mark.browser, needs_chromium]


def try_it_out(page: Page) -> None:
    """Send the JSON example of /predict from Swagger UI, and check that the answer has a digit."""
    operation = page.locator("#operations-predict-predict")
    operation.click()
    operation.get_by_label("Request content type").select_option("application/json")
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table .response .microlight").first
    expect(answer).to_contain_text('"digit": 5')


def test_docs_work_without_the_internet(server: Server) -> None:
    """/docs renders from this service alone, and "Try it out" reads the example digit."""
    with browsing() as (page, faults):
        page.goto(f"{server.url}/docs")
        expect(page.get_by_role("heading", name="digitserve")).to_be_visible()
        try_it_out(page)
        assert faults == []


def test_a_key_can_be_given_in_docs(seven_png: Path) -> None:
    """With keys set, /docs has a button for one, and the first form of a request offers a file."""
    with running(DIGITS_API_KEYS=hashlib.sha256(b"secret").hexdigest()) as server, browsing() as (page, _):
        page.goto(f"{server.url}/docs")
        operation = page.locator("#operations-predict-predict")
        operation.click()
        operation.locator("input[type=file]").set_input_files(seven_png)
        operation.get_by_role("button", name="Execute").click()
        answer = operation.locator(".live-responses-table .response .microlight").first
        expect(answer).to_contain_text("An API key is required")
        page.get_by_role("button", name="Authorize").first.click()
        page.get_by_label("auth-bearer-value").fill("secret")
        page.get_by_label("Apply credentials").first.click()
        page.locator(".btn-done").first.click()
        operation.get_by_role("button", name="Execute").click()
        expect(answer).to_contain_text('"digit": 7')


@pytest.mark.parametrize("content_type", ["multipart/form-data", "image/png"])
def test_a_file_can_be_uploaded_from_docs(server: Server, seven_png: Path, content_type: str) -> None:
    """/docs has a file input. Its file is read as a file of a form, and as the body itself."""
    with browsing() as (page, faults):
        page.goto(f"{server.url}/docs")
        operation = page.locator("#operations-predict-predict")
        operation.click()
        operation.get_by_label("Request content type").select_option(content_type)
        operation.locator("input[type=file]").set_input_files(seven_png)
        operation.get_by_role("button", name="Execute").click()
        expect(operation.locator(".live-responses-table .response .microlight").first).to_contain_text('"digit": 7')
        assert faults == []


@pytest.mark.parametrize("path", ["docs", "redoc"])
def test_the_api_s_pages_follow_the_colour_scheme_and_lead_back(server: Server, path: str) -> None:
    """In a dark scheme, text is light on dark. A link leads to the front page."""
    with browsing(color_scheme="dark") as (page, faults):
        page.goto(f"{server.url}/{path}")
        heading = page.get_by_role("heading", name="digitserve").first
        expect(heading).to_be_visible()
        colours = heading.evaluate(
            "element => [getComputedStyle(element).color, getComputedStyle(document.body).backgroundColor]"
        )
        text, ground = (sum(int(part) for part in re.findall(r"\d+", colour)[:3]) / 3 for colour in colours)
        assert text > 180 > 60 > ground
        page.get_by_role("link", name="digitserve").click()
        expect(page.get_by_role("heading", name="Write a digit.")).to_be_visible()
        assert faults == []


def test_redoc_works_without_the_internet(server: Server) -> None:
    """/redoc renders from this service alone, with its styles, and its search works."""
    with browsing() as (page, faults):
        page.goto(f"{server.url}/redoc")
        expect(page.get_by_role("heading", name="Read one digit")).to_be_visible()
        assert page.locator(".menu-content").evaluate("menu => getComputedStyle(menu).position") == "sticky"
        page.get_by_placeholder("Search").fill("whole number")
        expect(page.get_by_role("menuitem", name="Read a whole number").first).to_be_visible()
        assert faults == []


@needs_nginx
def test_pages_work_behind_a_proxy_with_a_path(tmp_path: Path) -> None:
    """With DIGITS_ROOT_PATH, the pages render under the path of the proxy, and their requests reach the service."""
    with running(DIGITS_ROOT_PATH="/digits") as server, behind_nginx(server, tmp_path) as url:
        assert httpx.get(f"{url}/openapi.json").json()["servers"] == [{"url": "/digits"}]
        with browsing() as (page, faults):
            page.goto(f"{url}/docs")
            try_it_out(page)
            page.goto(f"{url}/")
            page.get_by_role("button", name="Example: a 7").click()
            expect(page.locator("#answer")).to_have_attribute("data-state", "accepted")
            expect(page.locator("#digit")).to_have_text("7")
            page.goto(f"{url}/redoc")
            expect(page.get_by_role("heading", name="Read one digit")).to_be_visible()
            assert faults == []
