"""docs/settings.md lists every setting, with its flag, default and description."""

from pathlib import Path

from app.settings import Settings
from tests.support.settings_page import settings_page

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_lists_every_setting() -> None:
    """The page is exactly what the generator prints: one row for each setting, by the groups of the flags."""
    assert PAGE.read_text() == settings_page(), (
        "docs/settings.md is out of date. Update it: python -m tests.support.settings_page > docs/settings.md"
    )


def test_no_setting_lacks_a_description() -> None:
    """Each row ends with a sentence, and no cell breaks the table."""
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert "|" not in field.description, name
