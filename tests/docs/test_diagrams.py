"""The diagrams of the documents are drawn by Mermaid, as GitHub and GitLab draw them."""

import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.support.browser import browsing, needs_chromium

ROOT = Path(__file__).parents[2]
DIAGRAMS = [
    pytest.param(text, id=str(page.relative_to(ROOT)))
    for page in sorted(ROOT.glob("docs/**/*.md"))
    for text in re.findall(r"^```mermaid\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
]

pytestmark = [pytest.mark.browser, needs_chromium]


@pytest.fixture(scope="module")
def mermaid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page that has Mermaid, from npm. Without npm, the tests are skipped."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("mermaid")
    command = ["npm", "pack", "mermaid@11", "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot download mermaid: {done.stderr[-200:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extract("package/dist/mermaid.min.js", folder, filter="data")
    with browsing() as (page, _):
        page.add_script_tag(path=folder / "package" / "dist" / "mermaid.min.js")
        yield page


@pytest.mark.parametrize("diagram", DIAGRAMS)
def test_each_diagram_is_drawn(mermaid: Page, diagram: str) -> None:
    """Mermaid finds no error in it, and the picture is neither empty nor wider than two pages."""
    svg = mermaid.evaluate("async text => (await window.mermaid.render('diagram', text)).svg", diagram)
    assert "Syntax error" not in svg
    width, height = map(float, re.findall(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"', svg)[0])
    assert 100 < width < 1_800
    assert height > 40
