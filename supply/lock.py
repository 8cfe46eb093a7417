"""Read lock files: the releases that may be installed, with the hashes of their files. ``make lock`` writes them."""

import re
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

FOLDER = Path(__file__).parent
NAMES = ("", "client", "torch", "otel", "heic", "ray", "build")
LOCKS = {name: FOLDER / f"requirements{name and '-'}{name}.txt" for name in NAMES}


class Pin(NamedTuple):
    """One locked release."""

    requirement: Requirement  # name==version, perhaps with a marker for the Python version or platform
    hashes: list[str]  # SHA-256 of each of its files
    direct: bool  # pyproject.toml names it; otherwise only another package needs it

    @property
    def version(self) -> str:
        (specifier,) = self.requirement.specifier
        return specifier.version


def read_lock(lock: Path) -> list[Pin]:
    """Return all releases of a lock file."""
    pins = []
    for block in re.split(r"\n(?=\S)", lock.read_text().rstrip()):
        if block.startswith("#"):
            continue
        requirement = Requirement(block.partition(" \\\n")[0])
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})\b", block)
        pins.append(Pin(requirement, hashes, direct=bool(re.search(r"\n +# .*\(pyproject\.toml", block))))
    return pins
