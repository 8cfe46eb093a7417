"""``digitserve predict`` that is killed, interrupted or watched, and continues."""

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.cli.reading import always, start, wait_for_lines
from tests.support.faulty_proxy import Reply, Slow, run_proxy
from tests.support.running import ROOT, Server, clean_environment, run_main


@pytest.mark.parametrize(("form", "ending"), [("json", "killed"), ("csv", "torn"), ("csv", "interrupted")])
@pytest.mark.serial
def test_an_interrupted_run_can_be_resumed(
    folder: Path, server: Server, tmp_path: Path, complete: dict[str, bytes], form: str, ending: str
) -> None:
    """After a kill, a kill within a line, or Ctrl-C, --resume completes the file as if nothing had happened."""
    output = tmp_path / "x"
    with run_proxy(server, lambda post: Slow(0.3 if post.number > 1 else 0)) as proxy:
        command = ("--url", proxy.url, f"--{form}", "--output", str(output), str(folder))
        process = start(*command)
        wait_for_lines(output, 65)
        process.send_signal(signal.SIGINT if ending == "interrupted" else signal.SIGKILL)
        printed, errors = process.communicate(timeout=20)
    before = output.read_bytes()
    assert complete[form].startswith(before)
    assert len(before) < len(complete[form])
    if ending == "torn":
        output.write_bytes(before[:-7])
    if ending == "interrupted":
        done = before.count(b"\n") - (form == "csv")
        assert process.returncode == 130
        assert errors.splitlines() == [
            "digitserve: interrupted",
            f"digitserve: {done} done; run the same command with --resume to continue",
        ]
    assert printed == ""
    with run_proxy(server, always(None)) as proxy:
        arguments = ("predict", "--url", proxy.url, f"--{form}", "--output", str(output), "--resume", str(folder))
        assert run_main(*arguments).returncode == 1
        assert len(proxy.posts) < 5
        assert output.read_bytes() == complete[form]
    assert output.read_bytes() == complete[form]


@pytest.mark.serial
def test_ctrl_c_without_a_file_explains_how_to_continue(folder: Path, server: Server, tmp_path: Path) -> None:
    """The answers so far are printed, and there is no traceback."""
    printed = tmp_path / "printed"
    with run_proxy(server, lambda post: Slow(0.5 if post.number > 1 else 0)) as proxy, printed.open("wb") as file:
        process = start("--url", proxy.url, "--json", str(folder), stdout=file.fileno())
        wait_for_lines(printed, 1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    done = printed.read_bytes().count(b"\n")
    assert errors.splitlines()[1] == f"digitserve: {done} done; to be able to continue, use --output"


def test_a_run_without_a_service_can_be_resumed_too(folder: Path, tmp_path: Path) -> None:
    """--output and --resume work without --url."""
    whole, output = tmp_path / "whole.csv", tmp_path / "x.csv"
    run_main("predict", "--output", str(whole), str(folder))
    output.write_bytes(whole.read_bytes()[:5000])
    done = run_main("predict", "--output", str(output), "--resume", str(folder))
    assert (done.returncode, done.stdout) == (1, "")
    summary, where = done.stderr.splitlines()
    assert summary.startswith("digitserve: 297 of 300 files read: ")
    assert where == f"digitserve: the results are in {output}"
    assert output.read_bytes() == whole.read_bytes()


def test_a_terminal_shows_a_progress_bar(folder: Path, server: Server, tmp_path: Path) -> None:
    """On a terminal there is a progress bar. The other tests check that a pipe has none."""
    seen = b""
    controller, terminal = pty.openpty()
    with run_proxy(server, lambda post: Reply(503, {"Retry-After": "1"}) if post.number == 3 else None) as proxy:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "app",
                "predict",
                "--url",
                proxy.url,
                "--output",
                str(tmp_path / "x.csv"),
                str(folder),
            ],
            cwd=ROOT,
            env=clean_environment(),
            stderr=terminal,
        )
        os.close(terminal)
        while chunk := read_terminal(controller):
            seen += chunk
        process.wait(timeout=20)
    os.close(controller)
    assert re.search(rb"\r\[#+ +\] (64|128) of 300  [\d,]+/s", seen)
    assert b"503 Service Unavailable; trying again in 1." in seen
    _, _, summary = seen.rpartition(b"\r\x1b[K")
    assert summary.startswith(b"digitserve: 297 of 300 files read: ")


def read_terminal(controller: int) -> bytes:
    """Read from a terminal. Returns nothing once no process has it open."""
    try:
        return os.read(controller, 4096)
    except OSError:
        return b""


def test_the_reader_of_the_output_may_stop_early(folder: Path, server: Server) -> None:
    """If a program such as head closes the pipe, there is no traceback."""
    for url in (["--url", server.url], []):
        process = start(*url, "--json", str(folder))
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=20) == 1
        assert process.stderr.read() == ""
        process.stderr.close()
