"""A lock: the releases that may be installed, each with the hashes of its files. ``make lock`` writes them."""

import re
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

FOLDER = Path(__file__).parent
LOCKS = {name: FOLDER / f"requirements{name and '-'}{name}.txt" for name in ("", "torch", "otel", "build")}


class Pin(NamedTuple):
    """One release, and what pip is told about it."""

    requirement: Requirement  # name==version, and perhaps for which Python or platform
    hashes: list[str]  # SHA-256 of each of its files
    named: bool  # by pyproject.toml, rather than needed by another package alone

    @property
    def version(self) -> str:
        (specifier,) = self.requirement.specifier
        return specifier.version


def read(lock: Path) -> list[Pin]:
    """Every release that a lock names."""
    pins = []
    for block in re.split(r"\n(?=\S)", lock.read_text().rstrip()):
        if block.startswith("#"):
            continue
        requirement = Requirement(block.partition(" \\\n")[0])
        hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})\b", block)
        pins.append(Pin(requirement, hashes, named=bool(re.search(r"\n +# .*\(pyproject\.toml", block))))
    return pins
