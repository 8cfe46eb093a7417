"""The README: its commands against a running service do what it says, and print what it prints."""

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.running import ROOT, Server

README = (ROOT / "README.md").read_text()
COMMANDS = [block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "localhost:8000" in block]
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed (Debian: apt install curl)")


def bodies(output: str) -> list[dict[str, Any]]:
    """The JSON objects that curl printed one after the other, with nothing between them."""
    found, start = [], 0
    while start < len(output.rstrip()):
        body, start = json.JSONDecoder().raw_decode(output, start)
        found.append(body)
    return found


@needs_curl
def test_every_curl_command_answers_as_printed(server: Server) -> None:
    """Copied from the README, but for the port, each form of a request gives the printed answer."""
    (printed,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    answers = []
    for block in COMMANDS:
        script = block.replace("localhost:8000", f"127.0.0.1:{server.port}").replace("curl ", "curl -sS ")
        done = subprocess.run(["bash", "-euc", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answers += bodies(done.stdout)
    (number,) = [answer for answer in answers if "text" in answer]
    assert (number["text"], number["accepted"]) == ("513912", True)
    answers.remove(number)
    assert len(answers) == 3
    expected = json.loads(printed)
    for answer in answers:
        assert answer.pop("probabilities") == pytest.approx(expected["probabilities"], abs=1e-3)
        assert answer.pop("confidence") == pytest.approx(expected["confidence"], abs=1e-3)
        assert answer == {key: expected[key] for key in answer}


def test_every_link_leads_somewhere() -> None:
    """Each file that the README and the documents link to is there."""
    for document in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document}: {target}"
