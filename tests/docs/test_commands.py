"""The commands in ``console`` blocks of README.md and docs/ print what the pages say, on a running service.

In such a block, a line that starts with ``$`` is a command, and the lines after it are what it prints.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.running import ROOT, Server, clean_environment

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
TOOLS = {"java": "openjdk-17-jdk-headless", "go": "golang-go"}  # and the Debian package of each


def find_commands() -> Sequence[object]:
    """Return a pytest parameter for each block: its commands, each with what it prints."""
    found = []
    for page in PAGES:
        for number, block in enumerate(re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL), start=1):
            parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:]
            commands = list(zip(parts[::2], parts[1::2], strict=True))
            tool = commands[0][0].split()[0]
            skip = pytest.mark.skipif(
                tool in TOOLS and shutil.which(tool) is None,
                reason=f"{tool} is not installed (Debian: apt install {TOOLS.get(tool)})",
            )
            name = f"{page.relative_to(ROOT)}-{number}"
            found.append(pytest.param(commands, marks=skip, id=name))
    return found


@pytest.mark.parametrize("commands", find_commands())
def test_a_command_prints_what_the_page_says(commands: list[tuple[str, str]], checkout: Path, server: Server) -> None:
    """Copied from the page, except for the port of the service."""
    environment = clean_environment(
        PATH=f"{checkout}/.venv/bin:{os.environ['PATH']}", GOCACHE=f"{checkout}/go", HOME=str(checkout)
    )
    for command, expected in commands:
        done = subprocess.run(
            ["bash", "-c", command.replace("localhost:8000", f"localhost:{server.port}")],
            cwd=checkout,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout == expected
