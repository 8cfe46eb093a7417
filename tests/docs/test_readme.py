"""The commands and code in the README and in docs/api.md do what these pages say, on a running service."""

import base64
import json
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.support.browser import browsing, needs_chromium
from tests.support.running import ROOT, Server, clean_environment

README = (ROOT / "README.md").read_text()
API = (ROOT / "docs" / "api.md").read_text()


def blocks(language: str, having: str = "", text: str = README) -> list[str]:
    """Return the code blocks of a page in one language that contain some text."""
    return [block for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if having in block]


COMMANDS = [block for block in blocks("sh", "curl ", README + API) if "localhost:8000" in block]
SEVEN = ROOT / "docs" / "images" / "seven.png"
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed (Debian: apt install curl)")
needs_node = pytest.mark.skipif(
    shutil.which("node") is None, reason="node is not installed (Debian: apt install nodejs)"
)


def parse_bodies(output: str) -> list[dict[str, Any]]:
    """Split what curl printed into its JSON objects, which follow one another without a separator."""
    found, start = [], 0
    while start < len(output.rstrip()):
        body, start = json.JSONDecoder().raw_decode(output, start)
        found.append(body)
    return found


@needs_curl
def test_every_curl_command_answers_as_printed(server: Server) -> None:
    """Copied from the pages, except for the port, each form of a request gives the printed answer."""
    (printed,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    answers = []
    for block in COMMANDS:
        script = block.replace("localhost:8000", f"127.0.0.1:{server.port}").replace("curl ", "curl -sS ")
        done = subprocess.run(["bash", "-euc", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answers += parse_bodies(done.stdout)
    (number,) = [answer for answer in answers if "text" in answer]
    assert (number["text"], number["accepted"]) == ("513912", True)
    answers.remove(number)
    assert len(answers) == 3
    expected = json.loads(printed)
    for answer in answers:
        assert answer.pop("probabilities") == pytest.approx(expected["probabilities"], abs=1e-3)
        assert answer.pop("confidence") == pytest.approx(expected["confidence"], abs=1e-3)
        assert answer == {key: expected[key] for key in answer}


def run(command: list[str], server: Server) -> str:
    """Run a command from the README with this server's port, and return what it prints."""
    command = [part.replace("localhost:8000", f"127.0.0.1:{server.port}") for part in command]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_python_reads_the_digit(server: Server) -> None:
    """The Python code works as a script."""
    (script,) = blocks("python", "httpx")
    assert run([sys.executable, "-W", "error", "-c", script], server) == "7\n"


@needs_node
def test_the_javascript_reads_the_digit_in_node(server: Server) -> None:
    """A Buffer from fs is read. A file that is not an image gives an error that says so."""
    (script,) = blocks("js")
    call = f"""
      const {{ readFileSync }} = require("node:fs");
      readDigit(readFileSync("{SEVEN}")).then(console.log)
        .then(() => readDigit(readFileSync("{ROOT / "LICENSE"}"))).catch((error) => console.log(error.message));
    """
    digit, error = run(["node", "-e", script + call], server).splitlines()
    assert digit == "7"
    assert error.startswith("The file is not an image")


@needs_chromium
@pytest.mark.browser
def test_the_javascript_reads_the_digit_in_a_browser(server: Server) -> None:
    """A Blob, as a file input or a drop provides it, is read on a page of the service itself."""
    (script,) = blocks("js")
    picture = base64.b64encode(SEVEN.read_bytes()).decode()
    with browsing() as (page, faults):
        page.goto(f"{server.url}/livez")
        call = f"""async () => {{
          {script.replace("localhost:8000", f"127.0.0.1:{server.port}")}
          const picture = await (await fetch("data:image/png;base64,{picture}")).blob();
          return await readDigit(picture);
        }}"""
        assert page.evaluate(call) == 7
        assert faults == []
