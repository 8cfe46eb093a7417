"""Training works on a system without POSIX, such as Windows."""

import subprocess
from pathlib import Path

import pytest

from tests.support.without_posix import variables
from tests.training.commands.running import command, environment

pytestmark = pytest.mark.training


@pytest.mark.long
def test_a_model_is_trained_without_posix(folder: Path) -> None:
    """``train`` writes a model folder, and verifies it."""
    done = subprocess.run(
        command("train", "--recipe", "small", "--mnist-only", "--output", "new-1.0.0"),
        cwd=folder,
        env=environment(folder) | variables(folder),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (folder / "new-1.0.0" / "manifest.json").exists(), done.stderr
