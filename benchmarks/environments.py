"""A virtual environment for each server, in build/bench/, made once and kept until its requirements change.

Torch, which is larger than all of them together, is in one of its own, and those that need it see it through a .pth
file. Uses pip, for pip alone looks for wheels wherever this machine says.
"""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from benchmarks.peers import ROOT

BUILD = ROOT / "build" / "bench"
CHECKOUT = "-e .\n"  # the requirements of ours


class InstallError(Exception):
    """What pip said last."""


def environment(name: str, torch: bool = False) -> Path:
    """Give the environment of one of ``benchmarks/peers/``, made if it is not there.

    Raises:
        InstallError: pip could not do it.
    """
    requirements = ROOT / "benchmarks" / "peers" / name / "requirements.txt"
    folder, stamp = BUILD / name, BUILD / name / "installed"
    wanted = requirements.read_text()
    if wanted == CHECKOUT:  # what that needs is told elsewhere
        wanted += (ROOT / "pyproject.toml").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    shared = environment("torch") if torch else None
    print(f"installing {name}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    if shared:
        (packages(folder) / "torch.pth").write_text(f"{packages(shared)}\n")
    installed = subprocess.run(
        [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "-q", "-r", requirements],
        cwd=ROOT,  # that "-e ." is told from
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode:
        raise InstallError(installed.stderr.strip().splitlines()[-1])
    stamp.write_text(wanted)
    return folder


def packages(folder: Path) -> Path:
    """Where an environment has its packages."""
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def version(folder: Path, package: str) -> str:
    return next(iter(metadata.distributions(name=package, path=[str(packages(folder))]))).version


def megabytes(folder: Path) -> float:
    """What a folder takes of a disk."""
    files = (Path(parent) / name for parent, _, names in os.walk(folder) for name in names)
    return sum(file.lstat().st_size for file in files) / 1e6


def activated(folder: Path, **more: str) -> dict[str, str]:
    """The variables that a server is started with: its environment first on the path, and no setting of ours.

    One thread for OpenMP, for there is one core, and more would only be in each other's way.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DIGITS_")}
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "VIRTUAL_ENV": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more
