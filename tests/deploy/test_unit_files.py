"""The files of deploy/ for systemd and logrotate, checked by their own programs. Nothing is installed or started."""

import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from tests.support.ports import free_port
from tests.support.proxies import find_command
from tests.support.running import ROOT, clean_environment

UNIT = ROOT / "deploy" / "systemd" / "digitserve@.service"
ROTATION = ROOT / "deploy" / "logrotate" / "digitserve"
EXPOSURE = 20  # at most, in tenths of the points of systemd-analyze: 0 is the best and 100 the worst

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian: apt install systemd)"
)
needs_logrotate = pytest.mark.skipif(
    find_command("logrotate") is None, reason="logrotate is not installed (Debian: apt install logrotate)"
)


@needs_systemd
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """There is no error and no unknown setting, and the service is locked in well."""
    unit = tmp_path / "digitserve@8001.service"
    unit.write_text(UNIT.read_text().replace("/opt/digitserve/current/bin/digitserve", sys.executable))
    for arguments in (["verify"], ["security", "--offline=true", f"--threshold={EXPOSURE}"]):
        done = subprocess.run(["systemd-analyze", *arguments, str(unit)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert str(unit.name) not in done.stderr  # a warning would name it


def test_the_unit_waits_longer_than_the_service_needs() -> None:
    """systemd kills the service only after DIGITS_GRACE_S."""
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.M)
    assert int(seconds) > Settings.model_fields["grace_s"].default


def rotate(folder: Path, *flags: str) -> str:
    """Run logrotate with our file, in which only the folder is another one. Return what it says."""
    config = folder / "logrotate"
    config.write_text(ROTATION.read_text().replace("/var/log/digitserve", str(folder)))
    config.chmod(0o644)
    done = subprocess.run(
        [str(find_command("logrotate")), "--state", str(folder / "state"), *flags, str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@needs_logrotate
def test_a_log_is_rotated_while_the_service_writes_it(tmp_path: Path) -> None:
    """Lines before the rotation are in the old file and lines after it in the new one, without a gap of zeros."""
    assert "error" not in rotate(tmp_path, "--debug")
    log, port = tmp_path / "access.log", free_port()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--port", str(port)],
            cwd=tmp_path,
            env=clean_environment(DIGITS_DRAIN_MS="0"),
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
    try:
        request(port, "before", log)
        rotate(tmp_path, "--force")
        request(port, "after", log)
    finally:
        process.terminate()
        process.wait(20)
    assert b"before" in (tmp_path / "access.log.1").read_bytes()
    assert b"before" not in log.read_bytes()
    assert log.read_bytes().startswith(b'{"time": ')


def request(port: int, name: str, log: Path) -> None:
    """Send a request with an id until the service is there, and wait until the log has it."""
    deadline = time.monotonic() + 30
    while name not in log.read_text():
        assert time.monotonic() < deadline
        with suppress(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/info", headers={"X-Request-ID": name})
        time.sleep(0.2)
