"""A system without POSIX, such as Windows: everything but serving works there, and ``serve`` says so."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.test_main import MOUNT
from tests.support.running import ROOT, clean_environment, run_app
from tests.support.without_posix import variables


def test_pictures_are_read_without_posix(tmp_path: Path, seven_png: Path) -> None:
    """predict and info need only what every system has."""
    done = run_app("predict", str(seven_png), **variables(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{seven_png}: 7 ")
    done = run_app("info", **variables(tmp_path))
    assert json.loads(done.stdout)["engine"] == "onnxruntime"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_names_the_systems_that_it_needs(tmp_path: Path, workers: str) -> None:
    """One line, and no traceback."""
    done = run_app("serve", "--port", "0", "--workers", workers, **variables(tmp_path))
    assert done.returncode == 3
    assert done.stderr == "digitserve: serve needs Linux or macOS. On Windows, run it in WSL or as a container\n"


def test_another_server_can_mount_the_app_without_posix(tmp_path: Path) -> None:
    """The app starts and stops. There is just no SIGHUP that reloads the model."""
    done = subprocess.run(
        [sys.executable, "-c", MOUNT],
        cwd=ROOT,
        env=clean_environment(**variables(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[:2] == ["True 0", "True 0"], done.stderr
