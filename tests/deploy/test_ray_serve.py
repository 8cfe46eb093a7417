"""deploy/ray/serve_app.py serves the app with Ray Serve, and its answers are those of ``digitserve serve``."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.pictures import Grey, make_page, png
from tests.support.ports import free_port
from tests.support.ray_serve import APP_FOLDER, ray_serve_command
from tests.support.running import Server, clean_environment

pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")

READY_TIMEOUT_S = 120

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def ray_serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the file, run as its docstring says, on a free port."""
    folder, url = tmp_path_factory.mktemp("ray"), f"http://127.0.0.1:{(port := free_port())}"
    command = ray_serve_command(folder, port)
    environment = clean_environment() | {"PYTHONPATH": str(APP_FOLDER)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until_ready(url, process, folder / "log")
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(log.read_text()[-3000:])


def test_its_answers_are_those_of_serve(ray_serve: str, server: Server, digits: list[tuple[int, Grey]]) -> None:
    """Pictures as forms and as bodies, numbers, errors, and the page: each byte of the bodies is the same."""
    page = png(make_page([[image for _, image in digits[:3]]]))
    requests: list[tuple[str, str, dict[str, Any]]] = [
        *[("POST", "/predict", {"files": {"file": png(image)}}) for _, image in digits],
        ("POST", "/predict", {"content": png(digits[0][1]), "headers": {"Content-Type": "image/png"}}),
        ("POST", "/read", {"files": {"file": page}}),
        ("POST", "/predict/batch", {"files": [("files", png(image)) for _, image in digits]}),
        ("POST", "/predict", {"content": b"no picture", "headers": {"Content-Type": "image/png"}}),
        ("GET", "/predict", {}),
        ("GET", "/v2/models/digitnet", {}),
        ("GET", "/", {}),
    ]
    for method, path, arguments in requests:
        theirs = httpx.request(method, f"{ray_serve}{path}", **arguments)
        ours = httpx.request(method, f"{server.url}{path}", **arguments)
        assert (theirs.status_code, theirs.headers["Content-Type"]) == (ours.status_code, ours.headers["Content-Type"])
        if "problem" in ours.headers["Content-Type"]:
            assert theirs.json()["detail"] == ours.json()["detail"]
        else:
            assert theirs.content == ours.content
