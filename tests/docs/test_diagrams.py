"""The diagrams of the documents are drawn by Mermaid, as GitHub and GitLab draw them."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.docs.test_documents import DIAGRAM, PAGES, ROOT
from tests.support.browser import browsing, needs_chromium
from tests.support.npm import download_file

DIAGRAMS = [
    pytest.param(text, id=str(page.relative_to(ROOT))) for page in PAGES for text in DIAGRAM.findall(page.read_text())
]

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture(scope="module")
def mermaid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page that has Mermaid, from npm. Without npm, the tests are skipped."""
    script = download_file("mermaid@11", "dist/mermaid.min.js", tmp_path_factory.mktemp("mermaid"))
    with browsing() as (page, _):
        page.add_script_tag(path=script)
        yield page


@pytest.mark.parametrize("diagram", DIAGRAMS)
def test_each_diagram_is_drawn(mermaid: Page, diagram: str) -> None:
    """Mermaid finds no error in it, and the picture is neither empty nor wider than two pages."""
    svg = mermaid.evaluate("async text => (await window.mermaid.render('diagram', text)).svg", diagram)
    assert "Syntax error" not in svg
    width, height = map(float, re.findall(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"', svg)[0])
    assert 100 < width < 1_800
    assert height > 40
