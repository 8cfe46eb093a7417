"""A folder in which the commands of the pages run."""

import sys
from pathlib import Path

import pytest

from tests.support.console_script import write_console_script
from tests.support.running import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder in which the commands work as in a checkout, and what they write is not in the repository."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir(parents=True)
    (scripts / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (scripts / "python").chmod(0o755)
    write_console_script(scripts / "digitserve", sys.executable)
    return tmp_path
