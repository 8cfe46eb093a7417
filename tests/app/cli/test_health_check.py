"""The health check of the container: it asks the service where that really listens, and uses no proxy."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.cli import health_check
from tests.support.ports import free_port
from tests.support.running import ROOT, Server, clean_environment

ISOLATE = ["unshare", "--pid", "--fork", "--mount-proc"]  # the command that follows is process 1


def docker_health_check() -> list[str]:
    """Return the command of the image's health check, run with this Python."""
    found = re.search(r"^HEALTHCHECK .*\\\n *CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    command: list[str] = json.loads(found[1])
    assert command[0] == "python"
    return [sys.executable, *command[1:]]


@pytest.mark.parametrize(
    ("words", "port"),
    [
        (["digitserve", "serve", "--port", "{port}"], None),
        (["/sbin/docker-init", "--", "digitserve", "serve", "--threads", "2", "--port={port}"], None),
        (["python", "-m", "app", "serve", "--host", "[::]", "--port", "{port}"], "1"),
        (["digitserve", "serve"], "{port}"),
    ],
)
def test_it_asks_where_the_flags_or_the_environment_say(
    words: list[str], port: str | None, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag overrides the environment. A proxy in the environment is ignored."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("DIGITS_HOST", "0.0.0.0")
    monkeypatch.setenv("DIGITS_PORT", (port or "").format(port=server.port))
    (tmp_path / "cmdline").write_bytes("\0".join(words).format(port=server.port).encode() + b"\0")
    assert health_check.main(tmp_path / "cmdline") == 0


def test_a_service_that_does_not_listen_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check fails quietly."""
    monkeypatch.setenv("DIGITS_PORT", str(free_port()))
    (tmp_path / "cmdline").write_bytes(b"digitserve\0serve\0")
    assert health_check.main(tmp_path / "cmdline") == 1


def can_isolate() -> bool:
    """Return whether this machine allows process namespaces of one's own."""
    command = [*ISOLATE, "true"]
    return bool(shutil.which("unshare")) and not subprocess.run(command, capture_output=True, check=False).returncode


@pytest.mark.serial
@pytest.mark.skipif(not can_isolate(), reason="process namespaces are not permitted")
def test_the_image_checks_its_own_service(tmp_path: Path) -> None:
    """Where the service is the first process, as in a container, the image's command finds it, whatever its flags and
    the environment say about proxies and ports."""
    log, port = tmp_path / "log", free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*ISOLATE, "--kill-child", sys.executable, "-m", "app", "serve", "--port", str(port)],
            cwd=ROOT,
            env=clean_environment(DIGITS_DRAIN_MS="0"),
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 30
        while "running on" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        (service,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        done = subprocess.run(
            ["nsenter", "--target", service, "--pid", "--mount", *docker_health_check()],
            cwd=ROOT,
            env=clean_environment(http_proxy="http://127.0.0.1:9", DIGITS_PORT=str(free_port())),
            check=False,
            timeout=20,
        )
        assert done.returncode == 0
    finally:
        process.kill()
        process.wait()
