"""Schemathesis checks the running service against its OpenAPI document, with valid and invalid requests."""

import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from app.http.schemas import EXAMPLE_IMAGE
from tests.support.running import ROOT, Server, clean_environment

pytest.importorskip("schemathesis", reason="schemathesis is not in the base install")

import schemathesis  # after the check that it is installed

import tests.support.schemathesis_hooks  # noqa: F401  # tells schemathesis what a body of image/png is

pytestmark = [pytest.mark.fuzz, pytest.mark.slow]

PICTURE = base64.b64decode(EXAMPLE_IMAGE)


def test_every_response_is_as_the_document_says(server: Server, tmp_path: Path) -> None:
    """Every check of schemathesis passes in every phase: no 5xx; status, type, headers and body as described; invalid
    requests refused; other methods answered with 405 and Allow; and so on."""
    config = str(ROOT / "tests/support/schemathesis.toml")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run"]
    options = ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "25", "--seed", "1", "--no-color"]
    done = subprocess.run(
        [*command, *options, f"{server.url}/openapi.json"],
        cwd=tmp_path,  # where schemathesis stores its findings
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    generated, passed = re.findall(r"(\d+) generated, (\d+) passed$", done.stdout, re.MULTILINE)[0]
    assert generated == passed
    assert int(generated) > 500
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/read"])
def test_a_picture_is_accepted_in_every_documented_form(path: str, server: Server) -> None:
    """With a real picture in the body, all checks pass, and every request that the document allows gets a 200."""
    operation = schemathesis.openapi.from_url(f"{server.url}/openapi.json")[path]["POST"]
    forms: dict[str, Any] = dict.fromkeys(operation.definition.raw["requestBody"]["content"], PICTURE)
    forms |= {
        "application/json": {"image": EXAMPLE_IMAGE},
        "multipart/form-data": {"file": [PICTURE, PICTURE] if path == "/predict/batch" else PICTURE},
    }
    for form in operation.definition.raw["requestBody"]["content"]:

        @given(case=operation.as_strategy(media_type=form, body=forms[form]))
        @settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def check(case: schemathesis.Case[Any]) -> None:
            answer = case.call_and_validate()
            assert answer.status_code == 200
            assert str(answer.request.headers["Content-Type"]).startswith(str(case.media_type))

        check()
