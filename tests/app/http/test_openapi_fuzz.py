"""The OpenAPI document, held against the running service by schemathesis: requests made of it, right and wrong ones."""

import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

import tests.schemathesis_hooks  # noqa: F401  # registers what a body of image/png is
from app.http.schemas import EXAMPLE_IMAGE
from tests.support.running import ROOT, Server, clean_environment

PICTURE = base64.b64decode(EXAMPLE_IMAGE)


def test_every_answer_is_as_the_document_says(server: Server, tmp_path: Path) -> None:
    """Every check of schemathesis, in every phase: no 5xx; status, type, headers and body as described; wrong requests
    refused; other methods answered 405 with Allow; and so on."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(ROOT / "tests/schemathesis.toml"), "run"]
    options = ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "25", "--seed", "1", "--no-color"]
    done = subprocess.run(
        [*command, *options, f"{server.url}/openapi.json"],
        cwd=tmp_path,  # where it keeps what it found
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    made, passed = re.findall(r"(\d+) generated, (\d+) passed$", done.stdout, re.MULTILINE)[0]
    assert made == passed
    assert int(made) > 500
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/read"])
def test_a_picture_is_taken_in_every_form_that_is_described(path: str, server: Server) -> None:
    """With a real picture for the body, all checks hold, and whatever the document allows beside it is answered 200."""
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
