"""predict --url: a folder read by a running service, whatever comes between the two."""

import asyncio
import csv
import io
import itertools
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.__main__ import main
from app.cli.client import connect
from app.errors import ServiceError
from app.cli.image_files import find
from app.cli.results import Outcome
from benchmarks.startup import free_port
from tests.support.gateway import Asked, Cut, Instead, Reply, Slow, gateway
from tests.support.pictures import Grey, encode, make_page, png
from tests.support.running import ROOT, Server, clean_environment, run_app, running

Digits = list[tuple[int, Grey]]
PROBLEM = b'{"title": "No", "status": 401, "detail": "This service asks for an API key."}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, digits: Digits) -> Path:
    """300 pictures, a few of which cannot be read."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(300):
        _, image = digits[number % 20]
        file = folder / f"{number:03}.png"
        file.write_bytes(png(255 - image if number % 3 else np.roll(image, number % 5 - 2, axis=1)))
    (folder / "100.png").write_bytes(b"no picture")
    (folder / "101.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "102.png").unlink()
    (folder / "102.png").symlink_to("nowhere")
    (folder / "299.png").write_bytes(png(np.zeros((28, 28), np.uint8)))
    return folder


@pytest.fixture(scope="module")
def unbroken(folder: Path, server: Server) -> dict[str, bytes]:
    """What a run writes that nothing happens to, by format."""
    return {form: run_app("predict", "--url", server.url, f"--{form}", str(folder)).stdout.encode() for form in FORMS}


FORMS = ("csv", "json")


def start(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start the command line, and not wait for it."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "app", "predict", *arguments],
        cwd=ROOT,
        env=clean_environment(),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_lines(file: Path, number: int) -> None:
    deadline = time.monotonic() + 20
    while not file.exists() or file.read_bytes().count(b"\n") < number:
        assert time.monotonic() < deadline, "it does not get on"
        time.sleep(0.005)


def read(url: str, paths: Sequence[Path], **options: Any) -> list[Outcome]:
    """The same by the client itself, without long waits."""
    outcomes: list[Outcome] = []

    async def run() -> None:
        async with connect(url, **{"first_wait": 0.01, **options}) as client:
            await client.read(find(paths), outcomes.extend)

    asyncio.run(run())
    return outcomes


def always(reply: Instead) -> Callable[[Asked], Instead]:
    return lambda asked: reply


def second_batch(instead: Instead) -> Callable[[Asked], Instead]:
    """For the batch of the second 64 files, one of which can be told from all others."""
    return lambda asked: instead if b"no picture" in asked.body else None


def first(number: int, instead: Instead) -> Callable[[Asked], Instead]:
    return lambda asked: instead if asked.number < number else None


def test_a_folder_is_read_as_it_is_without_a_service(folder: Path, server: Server) -> None:
    """300 files, in their order: the same answers, and the same words for what cannot be read, in their places."""
    there, here = (run_app("predict", *url, "--json", str(folder)) for url in (("--url", server.url), ()))
    assert (there.returncode, here.returncode) == (1, 1)
    rows = [json.loads(line) for line in there.stdout.splitlines()]
    assert [row["file"] for row in rows] == [str(folder / f"{number:03}.png") for number in range(300)]
    for row, other in zip(rows, map(json.loads, here.stdout.splitlines()), strict=True):
        for name in ("confidence", "probabilities"):
            assert row.pop(name, None) == pytest.approx(other.pop(name, None), abs=2e-6)
        assert row == other
    assert [list(row) for row in rows[100:103]] == [["file", "error"]] * 3
    assert rows[102]["error"] == "No such file or directory"
    assert rows[299]["reason"] == "blank"
    assert there.stderr == here.stderr == "digitserve: 3 of 300 could not be read: see error\n"


def test_the_table_says_the_same(folder: Path, server: Server, unbroken: dict[str, bytes]) -> None:
    """Each record of --csv has what the line of --json has."""
    header, *records = csv.reader(io.StringIO(unbroken["csv"].decode()))
    assert header == ["file", "digit", "confidence", "accepted", "reason", "error"]
    for record, line in zip(records, unbroken["json"].splitlines(), strict=True):
        values = [json.loads(line).get(name) for name in header]
        expected = [json.dumps(value) if not isinstance(value, str | None) else value or "" for value in values]
        assert record == expected


def test_in_words_it_is_what_one_reads_without_a_service(digits: Digits, tmp_path: Path, server: Server) -> None:
    """A line a file, what is wrong on standard error, and the exit status."""
    for number, (_, image) in enumerate(digits):
        (tmp_path / f"{number}.png").write_bytes(png(image))
    here, there = (run_app("predict", *url, str(tmp_path), "missing") for url in ((), ("--url", server.url)))
    assert there.stdout == here.stdout
    assert there.stdout.count("\n") == 20
    assert there.stderr == here.stderr == "missing: No such file or directory\n"
    assert there.returncode == here.returncode == 1
    assert run_app("predict", "--url", server.url, str(tmp_path / "0.png")).returncode == 0


def test_whole_numbers_are_read(tmp_path: Path, digits: Digits, server: Server) -> None:
    """--read asks POST /read: the text of each file, in all three forms of output."""
    for number in range(5):
        line = [image for _, image in digits[number : number + 3]]
        (tmp_path / f"{number}.png").write_bytes(png(make_page([line, line] if number == 3 else [line])))
    texts = ["".join(str(digit) for digit, _ in digits[number : number + 3]) for number in range(5)]
    texts[3] += "\n" + texts[3]
    words, table, lines = (
        run_app("predict", "--url", server.url, "--read", *form, str(tmp_path))
        for form in ((), ("--csv",), ("--json",))
    )
    assert [line.split(": ")[1].split("  ")[0] for line in words.stdout.splitlines()] == [
        text.replace("\n", " ") for text in texts
    ]
    assert [record["text"] for record in csv.DictReader(io.StringIO(table.stdout))] == texts
    assert [json.loads(line)["text"] for line in lines.stdout.splitlines()] == texts
    assert lines.stdout == run_app("predict", "--read", "--json", str(tmp_path)).stdout
    assert lines.returncode == 0


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_service_is_left_alone_for_as_long_as_it_asks(
    folder: Path, server: Server, unbroken: dict[str, bytes], status: int
) -> None:
    """Retry-After in seconds, twice; then everything is read, in the same order."""
    came: list[float] = []

    def busy(asked: Asked) -> Instead:
        if second_batch(Reply(status))(asked):
            came.append(time.monotonic())
            return Reply(status, {"Retry-After": "1"}) if len(came) <= 2 else None
        return None

    with gateway(server, busy) as gate:
        done = run_app("predict", "--url", gate.url, "--csv", str(folder))
    assert done.stdout.encode() == unbroken["csv"]
    assert len(came) == 3
    assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(came))


def test_retry_after_may_be_a_date(seven_png: Path, server: Server) -> None:
    """As a proxy may write it."""
    waits: list[str] = []
    with gateway(server, first(1, Reply(503, {"Retry-After": formatdate(time.time() + 2, usegmt=True)}))) as gate:
        started = time.monotonic()
        (outcome,) = read(gate.url, [seven_png], on_wait=waits.append)
    assert outcome.answer
    assert time.monotonic() - started > 0.9  # a date has whole seconds
    assert re.fullmatch(r"503 Service Unavailable; asking again in \d\.\d s", waits[0])


def test_a_service_that_asks_for_too_long_ends_the_run(
    folder: Path, server: Server, tmp_path: Path, unbroken: dict[str, bytes]
) -> None:
    """What was answered before is kept, and the same command with --resume does the rest."""
    output = tmp_path / "x.csv"
    with gateway(server, second_batch(Reply(429, {"Retry-After": "9999"}))) as gate:
        done = run_app("predict", "--url", gate.url, "--output", str(output), str(folder))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"digitserve: {gate.url} asks to be left alone for 9,999 s: 429 Too Many Requests.",
        "digitserve: 64 done; the same command with --resume goes on",
    ]
    assert unbroken["csv"].startswith(output.read_bytes())
    done = run_app("predict", "--url", server.url, "--output", str(output), "--resume", str(folder))
    assert done.returncode == 1  # some cannot be read
    assert output.read_bytes() == unbroken["csv"]


def test_a_connection_that_is_cut_is_opened_again(folder: Path, server: Server, unbroken: dict[str, bytes]) -> None:
    """In the middle of an answer, of the first and of every fourth."""
    with gateway(server, lambda asked: Cut() if asked.number % 4 == 0 else None) as gate:
        done = run_app("predict", "--url", gate.url, "--json", str(folder))
    assert done.stdout.encode() == unbroken["json"]
    assert len(gate.asked) == 7  # five batches, of which two were cut


def test_a_picture_that_breaks_the_connection_spoils_no_other(folder: Path, server: Server) -> None:
    """It has the fault in its place; the batch around it is halved until it is alone."""
    with gateway(server, second_batch(Cut())) as gate:
        outcomes = read(gate.url, [folder])
    expected = read(server.url, [folder])
    assert outcomes[:100] + outcomes[101:] == expected[:100] + expected[101:]
    assert outcomes[100].error
    assert outcomes[100].error.startswith("The connection broke 3 times")


def test_a_service_that_cuts_every_connection_ends_the_run(folder: Path, server: Server) -> None:
    """After a few pictures, and none of them has an outcome."""
    with gateway(server, always(Cut())) as gate, pytest.raises(ServiceError, match="The connection broke 3 times"):
        read(gate.url, [folder])
    assert len(gate.asked) < 200


def test_a_service_that_stays_busy_is_asked_so_often_and_no_more(folder: Path, server: Server) -> None:
    """Longer is waited each time; the run ends, and what was answered before it has been told."""
    waits: list[str] = []
    with gateway(server, second_batch(Reply(503))) as gate:
        outcomes: list[Outcome] = []

        async def run() -> None:
            async with connect(gate.url, tries=5, first_wait=0.05, on_wait=waits.append) as client:
                await client.read(find([folder]), outcomes.extend)

        with pytest.raises(ServiceError, match="was tried 5 times: 503 Service Unavailable"):
            asyncio.run(run())
    assert len(outcomes) == 64
    assert len(gate.asked) <= 5 + 4
    assert len(waits) == 4


def test_a_service_that_is_started_again_is_waited_for(folder: Path) -> None:
    """Nothing listens there for a second; then all is read."""
    port = free_port()
    outcomes: list[Outcome] = []

    async def run() -> None:
        with running("--port", str(port)) as server:
            connection = connect(server.url, first_wait=0.2)
            client = await connection.__aenter__()
        again = asyncio.create_task(asyncio.to_thread(serve_again))
        try:
            await client.read(find([folder]), outcomes.extend)
        finally:
            stop.set()
            await again
            await connection.__aexit__(None, None, None)

    stop = threading.Event()

    def serve_again() -> None:
        time.sleep(0.5)
        with running("--port", str(port)):
            stop.wait(30)

    asyncio.run(run())
    assert len(outcomes) == 300
    assert sum(outcome.answer is not None for outcome in outcomes) == 297


def test_a_batch_that_is_too_large_is_halved_and_the_next_is_smaller(folder: Path, server: Server) -> None:
    """A proxy takes 12 kB: 413 for more. Nothing is lost, and the client learns."""
    with gateway(server, lambda asked: Reply(413) if len(asked.body) > 12_000 else None) as gate:
        outcomes = read(gate.url, [folder] * 4)
    assert outcomes == read(server.url, [folder]) * 4
    refused = [asked.number for asked in gate.asked if len(asked.body) > 12_000]
    assert 1 <= len(refused) <= 15  # the five that were put together until the first refusal, and their halves
    assert max(refused) < len(gate.asked) / 2


def test_the_limits_of_the_service_are_kept_to(folder: Path, digits: Digits, tmp_path: Path) -> None:
    """The real service with small limits: fewer files, fewer bytes, and a picture that is larger than it takes."""
    (tmp_path / "large.bmp").write_bytes(encode(Image.new("L", (100, 100), 255), "BMP"))
    limits = ("--max-batch", "20", "--max-batch-bytes", "6000", "--max-body-bytes", "5000")
    with running(*limits) as small, gateway(small, always(None)) as gate:
        outcomes = read(gate.url, [tmp_path, folder])
        expected = read(small.url, [folder])
    assert outcomes[1:] == expected
    assert outcomes[0].error == "The file is larger than the 5,000 bytes that are allowed."
    assert all(len(asked.body) < 50_000 for asked in gate.asked)
    assert sum(outcome.answer is not None for outcome in outcomes) == 297


def test_a_picture_that_is_large_goes_alone(tmp_path: Path, seven: Grey, server: Server) -> None:
    """A bitmap of 9 MB is over what a batch may have: it is sent to /predict, and those around it together."""
    for name in ("a", "b", "y", "z"):
        (tmp_path / f"{name}.png").write_bytes(png(seven))
    large = Image.fromarray(255 - seven).resize((2240, 1400)).convert("RGB")
    (tmp_path / "m.bmp").write_bytes(encode(large, "BMP"))
    with gateway(server, always(None)) as gate:
        outcomes = read(gate.url, [tmp_path])
    assert [outcome.answer["digit"] for outcome in outcomes if outcome.answer] == [7] * 5
    assert sorted(asked.path for asked in gate.asked) == ["/predict", "/predict/batch", "/predict/batch"]


def test_a_key_is_sent_and_one_that_is_not_taken_ends_the_run(seven_png: Path, server: Server) -> None:
    """By flag or by environment; 401 is told at once, as the service words it."""

    def guarded(asked: Asked) -> Instead:
        return None if asked.api_key == "open sesame" else Reply(401, {"WWW-Authenticate": "X-API-Key"}, PROBLEM)

    with gateway(server, guarded) as gate:
        command = ("predict", "--url", gate.url, str(seven_png))
        assert run_app(*command, "--api-key", "open sesame").returncode == 0
        assert run_app(*command, DIGITS_API_KEY="open sesame").returncode == 0
        assert run_app(*command, "--api-key", "open sesame", DIGITS_API_KEY="other").returncode == 0
        done = run_app(*command, "--api-key", "other")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"digitserve: POST {gate.url}/predict: This service asks for an API key. "
            "A key is given as --api-key or DIGITS_API_KEY.\n"
        )
        assert len(gate.asked) == 4


@pytest.mark.parametrize(("form", "ending"), [("json", "killed"), ("csv", "torn"), ("csv", "interrupted")])
def test_a_run_that_was_broken_off_is_gone_on_with(
    folder: Path, server: Server, tmp_path: Path, unbroken: dict[str, bytes], form: str, ending: str
) -> None:
    """Killed, killed while it wrote a line, or Ctrl-C: with --resume the file becomes that of an unbroken run."""
    output = tmp_path / "x"
    with gateway(server, lambda asked: Slow(0.3 if asked.number > 1 else 0)) as gate:
        command = ("--url", gate.url, f"--{form}", "--output", str(output), str(folder))
        process = start(*command)
        wait_for_lines(output, 65)
        process.send_signal(signal.SIGINT if ending == "interrupted" else signal.SIGKILL)
        printed, told = process.communicate(timeout=20)
    before = output.read_bytes()
    assert unbroken[form].startswith(before)
    assert len(before) < len(unbroken[form])
    if ending == "torn":
        output.write_bytes(before[:-7])
    if ending == "interrupted":
        done = before.count(b"\n") - (form == "csv")
        assert process.returncode == 130
        assert told.splitlines() == [
            "digitserve: stopped",
            f"digitserve: {done} done; the same command with --resume goes on",
        ]
    assert printed == ""
    with gateway(server, always(None)) as gate:
        again = ("predict", "--url", gate.url, f"--{form}", "--output", str(output), "--resume", str(folder))
        assert run_app(*again).returncode == 1
        assert len(gate.asked) < 5
        assert output.read_bytes() == unbroken[form]
    assert output.read_bytes() == unbroken[form]


def test_ctrl_c_without_a_file_says_how_it_could_be_gone_on_with(folder: Path, server: Server, tmp_path: Path) -> None:
    """What was answered has been printed, and there is no traceback."""
    printed = tmp_path / "printed"
    with gateway(server, lambda asked: Slow(0.5 if asked.number > 1 else 0)) as gate, printed.open("wb") as file:
        process = start("--url", gate.url, "--json", str(folder), stdout=file.fileno())
        wait_for_lines(printed, 1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    done = printed.read_bytes().count(b"\n")
    assert told.splitlines()[1] == f"digitserve: {done} done; --output and --resume could go on"


def test_without_a_service_it_can_be_gone_on_with_too(folder: Path, tmp_path: Path) -> None:
    """--output and --resume are of both."""
    whole, output = tmp_path / "whole.csv", tmp_path / "x.csv"
    run_app("predict", "--output", str(whole), str(folder))
    output.write_bytes(whole.read_bytes()[:5000])
    done = run_app("predict", "--output", str(output), "--resume", str(folder))
    assert (done.returncode, done.stdout) == (1, "")
    assert output.read_bytes() == whole.read_bytes()


PEAK = """
import pathlib, re, sys
from app.__main__ import main
status = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
sys.exit(status)
"""


def test_memory_is_that_of_a_few_batches(tmp_path: Path, seven: Grey, server: Server) -> None:
    """3,000 files, 60 MB of them, take no more than 300 do."""
    (tmp_path / "seven.png").write_bytes(png(seven) + bytes(20_000))
    peaks = []
    for count in (300, 3000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"{number}.png").hardlink_to(tmp_path / "seven.png")
        command = ["predict", "--url", server.url, "--output", f"{folder}.csv", str(folder)]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *command],
            cwd=ROOT,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            check=True,
        )
        assert Path(f"{folder}.csv").read_text().count(",7,") == count
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 12, peaks  # MB


def test_a_bar_is_shown_where_somebody_looks(folder: Path, server: Server, tmp_path: Path) -> None:
    """On a terminal; every other test sees that there is none on a pipe."""
    seen = b""
    controller, terminal = pty.openpty()
    with gateway(server, lambda asked: Reply(503, {"Retry-After": "1"}) if asked.number == 3 else None) as gate:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "app",
                "predict",
                "--url",
                gate.url,
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
    assert b"503 Service Unavailable; asking again in 1." in seen
    assert seen.endswith(b"\r\x1b[Kdigitserve: 3 of 300 could not be read: see error\r\n")


def read_terminal(controller: int) -> bytes:
    """What was written, and nothing when nobody has the terminal any more."""
    try:
        return os.read(controller, 4096)
    except OSError:
        return b""


def test_whoever_reads_the_output_may_stop(folder: Path, server: Server) -> None:
    """As head does: no traceback."""
    for url in (["--url", server.url], []):
        process = start(*url, "--json", str(folder))
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=20) == 1
        assert process.stderr.read() == ""
        process.stderr.close()


def test_nothing_listens_there(seven_png: Path) -> None:
    """One line, at once."""
    url = f"http://127.0.0.1:{free_port()}"
    done = run_app("predict", "--url", url, str(seven_png))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"digitserve: no connection to {url}: All connection attempts failed\n"


def test_another_service_is_there(seven_png: Path, server: Server) -> None:
    """One line, and no picture is sent."""
    done = run_app("predict", "--url", f"{server.url}/livez", str(seven_png))
    assert done.returncode == 1
    assert done.stderr.startswith(f"digitserve: GET {server.url}/livez/info: GET /livez/info: Not Found.")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[]", b'{"predictions": []}', b'{"predictions": [{}, 7]}'])
def test_an_answer_of_something_else_is_not_taken_for_one(seven_png: Path, server: Server, body: bytes) -> None:
    """As of a proxy that has a page for everything: of one picture as of two, nothing is told to be read."""
    for paths in ([seven_png], [seven_png] * 2):
        with gateway(server, always(Reply(200, {}, body))) as gate, pytest.raises(ServiceError, match="answer"):
            read(gate.url, paths)


def test_without_httpx_one_line_says_what_to_install(seven_png: Path) -> None:
    """And nothing else needs it."""
    script = "import sys; sys.modules['httpx'] = None\nfrom app.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    for url, status in (("--url=http://127.0.0.1:1", 2), ("--json", 0)):
        done = subprocess.run(
            [sys.executable, "-c", script, "predict", url, str(seven_png)],
            cwd=ROOT,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        told = "digitserve: --url needs httpx: pip install 'digitserve[client]'\n" if status else ""
        assert (done.returncode, done.stderr) == (status, told)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--resume",),
        ("--output", "answers.txt"),
        ("--output", "README.md", "--csv"),
        ("--output", "README.md", "--csv", "--resume"),
        ("--api-key", "x"),
        ("--url", "http://127.0.0.1:8000", "--model", "models/digitnet-1.5.0"),
        ("--url", "http://127.0.0.1:8000", "--api-key", "clé"),
        ("--url", "127.0.0.1:8000"),
        ("--url", "ftp://127.0.0.1"),
        ("--url", "http://127.0.0.1:99999"),
        ("--url", "http://[::1"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line(
    seven_png: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, nothing is read, and no file is made or changed."""
    readme = (ROOT / "README.md").read_bytes()
    arguments = tuple(str(ROOT / argument) if argument == "README.md" else argument for argument in arguments)
    assert main(["predict", *arguments, str(seven_png)]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert (ROOT / "README.md").read_bytes() == readme
    assert not Path("answers.txt").exists()
