"""Every command ends with the exit statuses that docs/command-line.md and --help list, and says why."""

import re
import subprocess
import sys

import pytest

from app.cli.console import EXIT_STATUS
from tests.support.ports import free_port
from tests.support.running import ROOT, Server, clean_environment, run_app

pytestmark = pytest.mark.slow  # starts services, or reads hundreds of pictures

SEVEN = "docs/images/seven.png"
PAGE = (ROOT / "docs" / "command-line.md").read_text()


def test_the_page_lists_what_help_lists() -> None:
    """The numbers are the same."""
    listed = re.findall(r"^  (\d+) ", EXIT_STATUS, re.M)
    (table,) = re.findall(r"\| exit status \|.*?\n\n", PAGE, re.DOTALL)
    assert re.findall(r"^\| (\d+) \|", table, re.M) == listed


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (f"predict {SEVEN}", 0),
        (f"predict --url {{url}} {SEVEN}", 0),
        ("bench --url {url} --seconds 0.1", 0),
        ("info", 0),
        ("completion bash", 0),
        ("predict Makefile", 1),
        ("predict missing.png", 1),
        (f"predict --url http://127.0.0.1:{{unused}} {SEVEN}", 1),
        ("bench --url http://127.0.0.1:{unused}", 1),
        ("bench --url {url} --path /nowhere --seconds 0.1", 1),
        ("serve --prot 8000", 2),
        ("serve --port 99999", 2),
        ("info --threads 0", 2),
        (f"predict --threads 0 {SEVEN}", 2),
        (f"predict --resume {SEVEN}", 2),
        ("bench --even", 2),
        ("bench missing.png", 2),
        ("completion csh", 2),
        ("serve --port {used}", 3),
        ("serve --port 0 --model nowhere", 3),
        ("info --model nowhere", 3),
        (f"predict --model nowhere {SEVEN}", 3),
    ],
)
def test_a_command_ends_with_the_status(arguments: str, status: int, server: Server) -> None:
    """If it is not 0, something on standard error says why, in lines that begin with the program or the file."""
    ports = {"url": server.url, "used": server.port, "unused": free_port()}
    done = run_app(*arguments.format(**ports).split())
    assert done.returncode == status, done.stderr
    assert bool(done.stderr) == bool(status) or "--path" in arguments
    for line in done.stderr.splitlines():
        assert line.startswith(("digitserve: ", "Makefile: ", "missing.png: ", "{")), line


@pytest.mark.parametrize(
    "arguments", ["info", "completion bash", "serve --help", "bench --url {url} --seconds 0.1", "predict docs/images"]
)
def test_a_reader_that_stops_early_ends_a_command_quietly(arguments: str, server: Server) -> None:
    """A program such as head closes the pipe. There is no traceback, also if everything fitted into the buffer."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "app", *arguments.format(url=server.url).split()],
        cwd=ROOT,
        env=clean_environment(PYTHONUNBUFFERED=""),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, b"")
