"""Faults around the service: a full disk, a read-only disk, no network, a clock that jumps.

Other files test slow clients, signals and workers that die.
"""

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.support.hostile import get, memory, talk
from tests.support.pictures import Grey, png
from tests.support.ports import free_port
from tests.support.running import METRICS_DELAY_S, ROOT, Server, clean_environment, run_app

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")

pytestmark = pytest.mark.slow  # each starts a server of its own


def can_run(*command: str) -> bool:
    """Return whether this machine has a command and allows it, such as one that creates a namespace."""
    return bool(shutil.which(command[0])) and subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(
    not can_run("unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"), reason="mounting is not permitted"
)
needs_network_namespace = pytest.mark.skipif(
    not can_run("unshare", "--net", "ip", "link", "set", "lo", "up"), reason="network namespaces are not permitted"
)
needs_faketime = pytest.mark.skipif(
    not FAKETIME.exists(), reason="libfaketime is not installed (Debian: apt install faketime)"
)


@contextmanager
def serving(
    folder: Path,
    *flags: str,
    through: tuple[str, ...] = (),
    log: Path | None = None,
    before: Callable[[], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, int]]:
    """Serve from a folder until the block ends. Yield the URL and the process id.

    Args:
        folder: The working folder and home of the service.
        flags: Flags of ``serve``.
        through: A command that runs the command of the service.
        log: The file to log to; by default one in the folder.
        before: Called in the process before the service starts.
        environment: More environment variables.
    """
    port = free_port()
    command = [*through, sys.executable, "-W", "error", "-m", "app", "serve", "--port", str(port), *flags]
    with (log or folder / "log").open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=clean_environment(**{"HOME": str(folder), "DIGITS_DRAIN_MS": "0", **(environment or {})}),
            stdout=output,
            stderr=output,
            preexec_fn=before,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while True:
            with suppress(httpx.HTTPError):
                httpx.get(f"{url}/readyz").raise_for_status()
                break
            assert process.poll() is None, "the service has ended"
            assert time.monotonic() < deadline, "the service is not ready after 30 s"
            time.sleep(0.02)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(timeout=20)


def read_seven(url: str, grey: Grey) -> None:
    """Check that a seven is read: small, which happens in the event loop, and large, which happens in a thread."""
    for file in (png(grey), png(np.kron(255 - grey, np.ones((20, 20), np.uint8)))):
        answer = httpx.post(f"{url}/predict", files={"file": file}, timeout=10)
        assert (answer.status_code, answer.json()["digit"]) == (200, 7)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk that is small enough to be filled."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Fill a disk to the last byte. Return the file that fills it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024))
    assert shutil.disk_usage(disk).free == 0
    return ballast


def test_a_log_that_cannot_be_written_does_no_harm(seven: Grey, tmp_path: Path) -> None:
    """If every write to the log fails, thousands of requests are answered, and their lines do not stay in memory."""
    with serving(tmp_path, log=Path("/dev/full")) as (url, pid):
        server = Server(url, pid, tmp_path / "none")
        ask = get("/" + "a" * 200).replace(b"Connection: close\r\n", b"")
        talk(server, ask * 1_000 + get("/livez"))
        had = memory(pid, "VmRSS")
        for _ in range(20):
            assert talk(server, ask * 1_000 + get("/livez")).raw.count(b"HTTP/1.1 404") == 1_000
        assert memory(pid, "VmRSS") - had < 4  # MB; the lines would be twice that
        read_seven(url, seven)


@needs_mounts
def test_a_full_disk_does_no_harm(seven: Grey, tmp_path: Path) -> None:
    """Log, working folder and TMPDIR are on a disk that is full for a while. Requests are answered all the time, and
    logged again afterwards."""
    with small_disk(tmp_path / "disk", "100k") as disk, serving(disk, environment={"TMPDIR": str(disk)}) as (url, _):
        ballast = fill(disk)
        for _ in range(50):
            read_seven(url, seven)
        ballast.unlink()
        httpx.get(f"{url}/livez", headers={"X-Request-ID": "room-again"}).raise_for_status()
        deadline = time.monotonic() + 5
        while "room-again" not in (disk / "log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)


@needs_mounts
def test_workers_count_requests_while_the_disk_is_full(seven: Grey, tmp_path: Path) -> None:
    """Several workers write their metrics to files. With no byte left on that disk, every kind of request is answered
    and counted."""
    with (
        small_disk(tmp_path / "disk", "5m") as disk,
        serving(tmp_path, "--workers", "2", environment={"TMPDIR": str(disk)}) as (url, _),
    ):
        time.sleep(1)  # for the second worker to allocate its file
        fill(disk)
        for method in ("GET", "PUT", "POST", "PATCH", "DELETE"):
            for path in ("/livez", "/info", "/predict", "/read", "/v2", "/nothing"):
                assert httpx.request(method, url + path).status_code < 500
        read_seven(url, seven)
        time.sleep(METRICS_DELAY_S)
        assert 'http_requests_total{method="PATCH",path="/read",status="405"}' in httpx.get(f"{url}/metrics").text
        assert "ended with" not in (tmp_path / "log").read_text()


@needs_mounts
def test_workers_without_room_for_their_metrics_say_so(tmp_path: Path) -> None:
    """On a disk that is full from the start, one line says what is missing. The system kills no process."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        done = run_app("serve", "--port", "0", "--workers", "2", TMPDIR=str(disk))
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert "cannot write the files for a worker's metrics: No space left on device" in output
    assert "Traceback" not in output
    assert "ended with -" not in output


def test_the_service_needs_to_write_no_file(seven: Grey, tmp_path: Path) -> None:
    """If the system lets no file grow (ulimit -f 0), the service starts and reads."""
    no_bytes = (0, 0)
    with serving(tmp_path, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, no_bytes)) as (url, _):
        read_seven(url, seven)
    assert (tmp_path / "log").stat().st_size == 0


@needs_mounts
def test_every_file_system_may_be_read_only(seven: Grey, tmp_path: Path) -> None:
    """With every file system read-only, including /tmp, the service starts, reads and shows its pages."""
    remount = 'for at in $(findmnt -rno TARGET -t notmpfs,noproc,nosysfs); do mount -o remount,ro,bind "$at"; done'
    script = f'{remount} 2>/dev/null; ! touch /tmp/x "$PWD/x" /var/tmp/x 2>/dev/null && exec "$@"'
    with serving(tmp_path, through=("unshare", "--mount", "sh", "-c", script, "sh")) as (url, _):
        read_seven(url, seven)
        for page in ("/docs", "/redoc", "/openapi.json"):
            httpx.get(url + page).raise_for_status()


OFFLINE = """
import socket, httpx
from tests.support.running import running
with socket.socket() as outside:
    assert outside.connect_ex(("192.0.2.1", 80)) != 0  # there is no network
with running() as server:
    for path in ("/docs", "/redoc", "/openapi.json", "/assets/swagger/swagger-ui-bundle.js", "/assets/docs.js"):
        assert httpx.get(server.url + path).raise_for_status().content
    print("served")
    try:
        from tests.support.browser import CHROMIUM, browsing
    except ImportError:  # playwright is not installed
        CHROMIUM = None
    if CHROMIUM:
        with browsing() as (page, faults):
            page.goto(f"{server.url}/docs")
            page.get_by_role("heading", name="digitserve").wait_for()
            page.locator("#operations-predict-predict").wait_for()
            assert faults == []
            print("rendered")
    else:
        print("no browser")
"""


@needs_network_namespace
def test_the_service_works_without_a_network(tmp_path: Path) -> None:
    """On a machine with nothing but a loopback device, the service starts, and its documentation renders."""
    script = 'ip link set lo up && exec "$@"'
    command = ["unshare", "--net", "sh", "-c", script, "sh", sys.executable, "-c", OFFLINE]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() in (["served", "rendered"], ["served", "no browser"]), done.stderr


@needs_faketime
def test_a_clock_that_jumps_changes_only_the_log(seven: Grey, tmp_path: Path) -> None:
    """The clock jumps by years, forwards and backwards, while a connection is open. Each request is answered, no
    deadline is missed, and no reported time is negative or long."""
    clock = tmp_path / "clock"

    def set_clock(date: str) -> None:
        (tmp_path / "next").write_text(f"@{date} 12:00:00\n")
        (tmp_path / "next").rename(clock)

    set_clock("2030-01-01")
    faked = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # setting a clock does not change the monotonic one
    }
    with serving(tmp_path, environment=faked) as (url, _), httpx.Client(base_url=url) as client:
        for year in (2030, 2037, 2011, 2031):
            set_clock(f"{year}-01-01")
            answer = client.post("/predict", files={"file": png(seven)})
            assert (answer.status_code, answer.json()["digit"]) == (200, 7)
            durations_ms = [float(part.partition("dur=")[2]) for part in answer.headers["Server-Timing"].split(", ")]
            assert all(0 <= duration < 2_000 for duration in durations_ms)
            read_seven(url, seven)
        metrics = client.get("/metrics").text
    total = next(line for line in metrics.splitlines() if line.startswith("digits_queue_duration_seconds_sum"))
    assert 0 <= float(total.split()[-1]) < 60
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    years = {int(line["time"][:4]) for line in lines if line["logger"] == "access"}
    assert {2011, 2031, 2037} <= years
    assert all(0 <= line["ms"] < 5_000 for line in lines if line["logger"] == "access")
