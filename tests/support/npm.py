"""Packages of the npm registry that tests use."""

import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGES = ("openapi-typescript@7", "openapi-fetch@0", "typescript@5", "@types/node@20", "@redocly/cli@2")


def install_packages(folder: Path) -> Path:
    """Install the packages into a folder, and return the folder of their commands. Skip the test if npm cannot."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot install packages: {done.stderr[-200:]}")
    return folder / "node_modules" / ".bin"
