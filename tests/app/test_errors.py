"""The commands that we recommend fit how digitserve was installed."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from app import errors
from app.errors import install_command, our_command, python_command
from tests.support.running import ROOT

METADATA = [
    "numpy>=2.0",
    "httpx>=0.28; extra == 'client'",
    'torch>=2.9; extra == "torch"',
    "torch>=2.9; extra == 'train'",
]


def test_a_checkout_is_extended_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The command works as it is printed, from any working folder. pip itself understands it."""
    monkeypatch.chdir(tmp_path)
    command = install_command("client")
    assert command == f"{sys.executable} -m pip install -e {shlex.quote(f'{ROOT}[client]')}"
    words = [*shlex.split(command), "--dry-run", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert f"Obtaining file://{ROOT}" in done.stdout


def test_paths_inside_the_working_folder_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the checkout itself, the command is the one of the README."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "executable", str(ROOT / ".venv" / "bin" / "python"))
    assert install_command("client") == ".venv/bin/python -m pip install -e '.[client]'"
    assert python_command() == ".venv/bin/python"


def test_a_wheel_gets_the_packages_of_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """digitserve is not on PyPI, so the command names what is."""
    monkeypatch.setattr(errors, "CHECKOUT", tmp_path)
    monkeypatch.setattr(errors, "requires", lambda name: METADATA)
    start = f"{python_command()} -m pip install "
    assert install_command("client") == f"{start}'httpx>=0.28'"
    assert install_command("torch,train") == f"{start}'torch>=2.9'"


def test_the_image_is_built_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It has no pip, and its file system is read-only."""
    monkeypatch.setattr(errors, "SBOM", tmp_path / "sbom.cdx.json")
    (tmp_path / "sbom.cdx.json").touch()
    assert install_command("heic") == "docker build -t digitserve --build-arg EXTRA=heic ."
    assert "/opt/venv/sbom.cdx.json" in (ROOT / "Dockerfile").read_text()
    assert (ROOT / "supply" / "requirements-heic.txt").is_file()


@pytest.mark.parametrize(
    ("started", "command"),
    [
        (f"{ROOT}/app/__main__.py", f"{python_command()} -m app"),
        (".venv/bin/digitserve", ".venv/bin/digitserve"),
        ("/opt/venv/bin/digitserve", "/opt/venv/bin/digitserve"),
    ],
)
def test_we_are_called_as_we_were_started(started: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script keeps its path, because it may not be where the shell looks."""
    monkeypatch.setenv("PATH", os.defpath)  # without an activated virtual environment
    monkeypatch.setattr(sys, "argv", [started])
    assert our_command() == command


def test_a_script_that_the_shell_finds_needs_no_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Then the name is enough."""
    script = tmp_path / "digitserve"
    script.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert our_command() == "digitserve"
