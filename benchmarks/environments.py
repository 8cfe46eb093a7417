"""Create a virtual environment for each server in build/bench/. It is kept until its requirements change.

Torch is larger than all the servers together, so it has its own environment; servers that need it find it through a
.pth file. This uses pip rather than uv, because pip is what this machine has configured with its package index.
"""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from benchmarks.peers import ROOT

BUILD = ROOT / "build" / "bench"
CHECKOUT = "-e .\n"  # the requirements file of digitserve


class InstallError(Exception):
    """pip failed. The message is the last line of its output."""


def create_environment(name: str, torch: bool = False) -> Path:
    """Create the environment of one of ``benchmarks/peers/`` unless it exists, and return its folder.

    Raises:
        InstallError: pip failed.
    """
    requirements = ROOT / "benchmarks" / "peers" / name / "requirements.txt"
    folder, stamp = BUILD / name, BUILD / name / "installed"
    wanted = requirements.read_text()
    if wanted == CHECKOUT:  # the real requirements are in pyproject.toml
        wanted += (ROOT / "pyproject.toml").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    shared = create_environment("torch") if torch else None
    print(f"installing {name}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    if shared:
        (site_packages(folder) / "torch.pth").write_text(f"{site_packages(shared)}\n")
    installation = subprocess.run(
        [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "-q", "-r", requirements],
        cwd=ROOT,  # "-e ." means this folder
        capture_output=True,
        text=True,
        check=False,
    )
    if installation.returncode:
        raise InstallError(installation.stderr.strip().splitlines()[-1])
    stamp.write_text(wanted)
    return folder


def site_packages(folder: Path) -> Path:
    """Return the folder that an environment keeps its packages in."""
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def installed_version(folder: Path, package: str) -> str:
    """Return the version of a package in an environment."""
    return next(iter(metadata.distributions(name=package, path=[str(site_packages(folder))]))).version


def disk_megabytes(folder: Path) -> float:
    """Return the disk space of a folder."""
    files = (Path(parent) / name for parent, _, names in os.walk(folder) for name in names)
    return sum(file.lstat().st_size for file in files) / 1e6


def server_variables(folder: Path, **more: str) -> dict[str, str]:
    """Build the environment variables of a server: its environment is first on the path, and no DIGITS_ setting leaks.

    OpenMP gets one thread, because there is one core and more threads would compete for it.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DIGITS_")}
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return (
        inherited | {"PATH": path, "VIRTUAL_ENV": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more
    )
