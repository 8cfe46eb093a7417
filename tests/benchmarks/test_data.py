"""A benchmark whose data is missing says so, without a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.running import ROOT

pytest.importorskip("torch")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pages", "pictures", "finder", "drift", "client"])
def test_a_folder_that_does_not_exist_is_named(name: str, tmp_path: Path) -> None:
    """It is not created either."""
    missing = tmp_path / "nothing"
    required = ["--examples", "a.png", "--failures", "b.png"] if name == "finder" else []
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *required],
        cwd=ROOT,
        env={**os.environ, "DIGITS_DATA_DIR": str(missing)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"the folder {missing} does not exist (from --data-dir or DIGITS_DATA_DIR).")
    assert "Traceback" not in done.stderr
    assert not missing.exists()
