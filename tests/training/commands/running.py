"""Runs ``python -m training`` with the small recipe, in a process of its own or in this one."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.running import ROOT
from tests.support.small_training import SMALL
from training.__main__ import main
from training.console import console
from training.recipes import RECIPES

# Runs a command with the recipes of the repository and a small one that takes seconds.
RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits that SIGINT is ignored
from tests.support.small_training import SMALL
from training import __main__, recipes
recipes.RECIPES["small"] = SMALL
sys.exit(__main__.main())
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", RUN, *arguments]


def environment(folder: Path) -> dict[str, str]:
    """Return this process's environment with the small MNIST, a wide terminal, and one thread for torch."""
    changes = {"PYTHONPATH": str(ROOT), "DIGITS_DATA_DIR": str(folder / "data"), "COLUMNS": "200"}
    return {**os.environ, **changes, "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Done:
    """The result of a command."""

    returncode: int
    stdout: str
    stderr: str


def run_process(folder: Path, *arguments: str) -> Done:
    """Run a command in a folder, in a process of its own."""
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def run_here(folder: Path, *arguments: str) -> Done:
    """Run a command in a folder, in this process. This saves the seconds that importing torch takes."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        patch.chdir(folder)
        patch.setenv("DIGITS_DATA_DIR", str(folder / "data"))
        patch.setitem(RECIPES, "small", SMALL)
        patch.setattr(console, "width", 200)
        try:
            returncode = main(arguments)
        except SystemExit as end:  # the command line is wrong
            returncode = int(end.code or 0)
    return Done(returncode, stdout.getvalue(), stderr.getvalue())


def run_interrupted(folder: Path, module: ModuleType, function: str, *arguments: str) -> Done:
    """Run a command as ``run_here`` does. Ctrl-C arrives when it calls a function of a module."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, function, interrupt)
        return run_here(folder, *arguments)
