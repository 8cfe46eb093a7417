"""A folder in which the commands of the pages run."""

import sys
from pathlib import Path

import pytest

from tests.support.running import ROOT

DIGITSERVE = f"#!{sys.executable}\nimport sys\nfrom app.__main__ import main\nsys.exit(main())\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder in which the commands work as in a checkout, and what they write is not in the repository."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir(parents=True)
    for name, text in (("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n'), ("digitserve", DIGITSERVE)):
        (scripts / name).write_text(text)
        (scripts / name).chmod(0o755)
    return tmp_path
