"""The documents agree with the repository: links, file names, commands and settings in them exist."""

import re
from pathlib import Path

import pytest

from app.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted(ROOT.glob("docs/**/*.md"))
DOCUMENTS = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")), *PAGES]
MAX_README_LINES = 150
MAX_PAGE_WORDS = 1_500
MAX_TABLE_ROWS = 8

LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
PATH = re.compile(r"`((?:app|training|tests|benchmarks|supply|deploy|docs|models/digitnet[^/`]*)/[\w./-]*\w)`")
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
NOT_SETTINGS = {"DIGITS_DATA_DIR", "DIGITS_API_KEY"}  # of training and of the client

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
each_current_document = pytest.mark.parametrize(  # the changelog may name what has gone
    "document",
    [document for document in DOCUMENTS if document.name != "CHANGELOG.md"],
    ids=lambda path: str(path.relative_to(ROOT)),
)


def anchors(document: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_every_link_leads_somewhere(document: Path) -> None:
    """Each linked file exists, and so does the heading that a link names."""
    for target, anchor in LINK.findall(document.read_text()):
        linked = (document.parent / target) if target else document
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"


@each_current_document
def test_every_file_that_is_named_exists(document: Path) -> None:
    """A path in backticks, such as `app/settings.py`, is a file or a folder of the repository."""
    for path in PATH.findall(document.read_text()):
        assert (ROOT / path).exists(), path


@each_current_document
def test_every_command_that_is_named_exists(document: Path) -> None:
    """make targets, training commands and modules to run with `python -m`."""
    text = document.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = {path.stem.replace("_", "-") for path in (ROOT / "training" / "commands").glob("*.py")}
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    assert set(re.findall(r"python -m training ([a-z-]+)", text)) <= commands
    for module in re.findall(r"python -m ((?:app|benchmarks|tests|supply)[\w.]*)", text):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@each_current_document
def test_every_setting_that_is_named_exists(document: Path) -> None:
    """A DIGITS_ variable is a setting, or one of the two that belong to training and the client."""
    known = {f"DIGITS_{name.upper()}" for name in Settings.model_fields} | NOT_SETTINGS
    assert set(re.findall(r"DIGITS_[A-Z_]*[A-Z]", document.read_text())) <= known


def test_the_readme_is_short() -> None:
    """It fits into 150 lines."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


@each_current_document
def test_no_table_is_long(document: Path) -> None:
    """A table has at most eight rows. Longer ones are divided by topic."""
    tables = re.findall(r"(?:^\|.*\n)+", document.read_text(), re.MULTILINE)
    assert max((len(table.splitlines()) - 2 for table in tables), default=0) <= MAX_TABLE_ROWS


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_is_long(page: Path) -> None:
    """A page of docs/ has at most 1,500 words. Diagrams do not count."""
    assert len(DIAGRAM.sub("", page.read_text()).split()) <= MAX_PAGE_WORDS


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda path: path.name)
def test_each_page_has_a_picture(page: Path) -> None:
    """A picture or a diagram says what the page is about, before anyone reads it."""
    text = page.read_text()
    assert DIAGRAM.search(text) or "![" in text


def test_the_index_lists_every_page() -> None:
    """docs/README.md links to each page of docs/, and docs/decisions/README.md to each decision."""
    for index in (ROOT / "docs" / "README.md", ROOT / "docs" / "decisions" / "README.md"):
        listed = {target for target, _ in LINK.findall(index.read_text())}
        assert {page.name for page in index.parent.glob("*.md")} - {"README.md"} <= listed
