"""The front page when the service refuses, is overloaded or cannot be reached."""

import hashlib
import re

import pytest

from tests.support.running import running

pytest.importorskip("playwright", reason="playwright is not in the base install")

from playwright.sync_api import Browser, Page, Route, expect

from tests.support.browser import draw, needs_chromium, on_pad, watching
from tests.support.front_page import choose, expect_digit, expect_state, only_has_status, problem

pytestmark = [pytest.mark.browser, needs_chromium]


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
