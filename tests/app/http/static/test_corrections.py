"""Corrections on the front page: kept in the browser, and downloaded as what fine-tuning reads."""

import io
import zipfile
from pathlib import Path

import pytest

from tests.support.running import Server

pytest.importorskip("playwright", reason="playwright is not in the base install")

from PIL import Image
from playwright.sync_api import Page, expect

from tests.support.browser import browsing, draw, needs_chromium
from tests.support.front_page import settle

pytestmark = [pytest.mark.browser, needs_chromium]


def correct(page: Page, digit: int) -> None:
    page.get_by_role("button", name=f"It is a {digit}").click()
    expect(page.locator("#corrected")).to_have_text(f"Kept as a {digit}.")


def test_corrections_are_downloaded_in_a_folder_per_digit(server: Server, seven_png: Path, tmp_path: Path) -> None:
    """A drawing and a file, each corrected with one click, survive a reload. The file's bytes are unchanged."""
    with browsing() as (page, faults):
        page.goto(f"{server.url}/")
        expect(page.locator("#corrections")).to_be_hidden()
        page.locator("#choose").set_input_files(seven_png)
        expect(page.locator("#digit")).to_have_text("7")
        expect(page.get_by_role("button", name="It is a 7")).to_be_disabled()
        correct(page, 2)
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#check")).to_be_hidden()
        draw(page)
        settle(page)  # half of the stroke also has an answer, which the whole one replaces
        expect(page.locator("#digit")).to_have_text("7")
        correct(page, 1)
        page.reload()
        expect(page.locator("#corrections-count")).to_have_text("2 corrections")
        with page.expect_download() as saved:
            page.get_by_role("button", name="Download for training").click()
        assert saved.value.suggested_filename == "my-digits.zip"
        with zipfile.ZipFile(saved.value.path()) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == ["2/0001.png", "1/0002.png"]
            assert archive.read("2/0001.png") == seven_png.read_bytes()
            assert Image.open(io.BytesIO(archive.read("1/0002.png"))).size == (280, 280)
            archive.extractall(tmp_path)
        assert sorted(path.name for path in tmp_path.glob("*") if path.is_dir()) == ["1", "2"]
        page.get_by_role("button", name="Delete them").click()
        expect(page.locator("#corrections")).to_be_hidden()
        page.reload()
        expect(page.locator("#corrections")).to_be_hidden()
        assert faults == []


def test_without_storage_it_says_so(server: Server) -> None:
    """In a browser that keeps nothing for pages, a correction is refused in words, and reading goes on."""
    with browsing() as (page, faults):
        page.add_init_script("IDBFactory.prototype.open = () => { throw new DOMException('no', 'SecurityError'); };")
        page.goto(f"{server.url}/")
        page.get_by_role("button", name="Example: a 7").click()
        page.get_by_role("button", name="It is a 1").click()
        expect(page.locator("#corrected")).to_have_text("This browser does not let the page keep it.")
        page.get_by_role("button", name="Example: a 3").click()
        expect(page.locator("#digit")).to_have_text("3")
        assert faults == []
