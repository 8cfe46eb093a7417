"""Packages of the npm registry that tests use."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

PACKAGES = ("openapi-typescript@7", "openapi-fetch@0", "typescript@5", "@types/node@20", "@redocly/cli@2")


def install_packages(folder: Path) -> Path:
    """Install the packages into a folder, and return the folder of their commands. Skip the test if npm cannot."""
    run_npm("install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES)
    return folder / "node_modules" / ".bin"


def download_file(package: str, path: str, folder: Path) -> Path:
    """Download one file of a package, without what the package needs. Skip the test if npm cannot."""
    run_npm("pack", package, "--pack-destination", str(folder))
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extract(f"package/{path}", folder, filter="data")
    return folder / "package" / path


def run_npm(*arguments: str) -> None:
    """Run npm. Skip the test if it is missing, or cannot do this."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    done = subprocess.run(["npm", *arguments], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"npm {arguments[0]} failed: {done.stderr[-200:]}")
