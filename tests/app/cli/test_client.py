"""``digitserve predict --url``: a running service reads a folder, even if the connection between them is bad."""

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
from collections import Counter
from collections.abc import Callable, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.__main__ import main
from app.cli.client import connect
from app.cli.image_files import find_image_files
from app.cli.results import Outcome
from app.errors import ServiceError, install_command, python_command
from tests.support.faulty_proxy import Action, Cut, ProxiedPost, Reply, Slow, run_proxy
from tests.support.pictures import Grey, encode, make_page, png
from tests.support.ports import free_port
from tests.support.running import ROOT, Server, clean_environment, run_main, running

Digits = list[tuple[int, Grey]]
PROBLEM = b'{"title": "No", "status": 401, "detail": "This service asks for an API key."}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, digits: Digits) -> Path:
    """A folder with 300 pictures, three of which cannot be read."""
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
def complete(folder: Path, server: Server) -> dict[str, bytes]:
    """The output of a run without any fault, by format."""
    formats = ("csv", "json")
    return {
        name: run_main("predict", "--url", server.url, f"--{name}", str(folder)).stdout.encode() for name in formats
    }


def start(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start the command line, and do not wait for it."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "app", "predict", *arguments],
        cwd=ROOT,
        env=clean_environment(),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_lines(file: Path, count: int) -> None:
    """Wait until a file has so many lines."""
    deadline = time.monotonic() + 20
    while not file.exists() or file.read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline, f"there are no {count} lines"
        time.sleep(0.005)


def read(url: str, paths: Sequence[Path], **options: Any) -> list[Outcome]:
    """Read files with the client in this process, with short waits between attempts."""
    outcomes: list[Outcome] = []

    async def run() -> None:
        async with connect(url, **{"first_wait_s": 0.01, **options}) as client:
            await client.read(find_image_files(paths), outcomes.extend)

    asyncio.run(run())
    return outcomes


def always(reply: Action) -> Callable[[ProxiedPost], Action]:
    return lambda post: reply


def second_batch(action: Action) -> Callable[[ProxiedPost], Action]:
    """Act on the batch of the second 64 files, which contains the file that is not a picture."""
    return lambda post: action if b"no picture" in post.body else None


def first(number: int, action: Action) -> Callable[[ProxiedPost], Action]:
    return lambda post: action if post.number < number else None


def test_a_folder_is_read_the_same_with_and_without_a_service(folder: Path, server: Server) -> None:
    """The answers and the errors of 300 files are the same, and in the same order."""
    remote, local = (run_main("predict", *url, "--json", str(folder)) for url in (("--url", server.url), ()))
    assert (remote.returncode, local.returncode) == (1, 1)
    rows = [json.loads(line) for line in remote.stdout.splitlines()]
    assert [row["file"] for row in rows] == [str(folder / f"{number:03}.png") for number in range(300)]
    for row, other in zip(rows, map(json.loads, local.stdout.splitlines()), strict=True):
        for name in ("confidence", "probabilities"):
            assert row.pop(name, None) == pytest.approx(other.pop(name, None), abs=2e-6)
        assert row == other
    assert [list(row) for row in rows[100:103]] == [["file", "error"]] * 3
    assert rows[102]["error"] == "No such file or directory"
    assert rows[299]["reason"] == "blank"
    assert remote.stderr == local.stderr
    refused = Counter(row["reason"] for row in rows if row.get("reason"))
    reasons = ", ".join(f"{refused[name]} {name}" for name in sorted(refused))
    assert remote.stderr == (
        f"digitserve: 297 of 300 files read: {297 - refused.total()} accepted, {reasons}. "
        "3 could not be read; see the error field\n"
    )


def test_csv_and_json_say_the_same(complete: dict[str, bytes]) -> None:
    """Each record of --csv has the values of the line of --json."""
    header, *records = csv.reader(io.StringIO(complete["csv"].decode()))
    assert header == ["file", "digit", "confidence", "accepted", "reason", "error"]
    for record, line in zip(records, complete["json"].splitlines(), strict=True):
        values = [json.loads(line).get(name) for name in header]
        expected = [json.dumps(value) if not isinstance(value, str | None) else value or "" for value in values]
        assert record == expected


def test_text_output_is_the_same_with_and_without_a_service(digits: Digits, tmp_path: Path, server: Server) -> None:
    """There is one line per file. Errors are on standard error, and the exit status is the same."""
    for number, (_, image) in enumerate(digits):
        (tmp_path / f"{number}.png").write_bytes(png(image))
    local, remote = (run_main("predict", *url, str(tmp_path), "missing") for url in ((), ("--url", server.url)))
    assert remote.stdout == local.stdout
    assert remote.stdout.count("\n") == 20
    assert remote.stderr == local.stderr
    assert remote.stderr.splitlines() == [
        "missing: No such file or directory",
        "digitserve: 20 of 21 files read: 20 accepted. 1 could not be read",
    ]
    assert remote.returncode == local.returncode == 1
    assert run_main("predict", "--url", server.url, str(tmp_path / "0.png")).returncode == 0


def test_whole_numbers_are_read(tmp_path: Path, digits: Digits, server: Server) -> None:
    """--read uses POST /read, and prints the text of each file in all three formats."""
    for number in range(5):
        line = [image for _, image in digits[number : number + 3]]
        (tmp_path / f"{number}.png").write_bytes(png(make_page([line, line] if number == 3 else [line])))
    texts = ["".join(str(digit) for digit, _ in digits[number : number + 3]) for number in range(5)]
    texts[3] += "\n" + texts[3]
    text, csv_output, json_output = (
        run_main("predict", "--url", server.url, "--read", *form, str(tmp_path))
        for form in ((), ("--csv",), ("--json",))
    )
    assert [line.split(": ")[1].split("  ")[0] for line in text.stdout.splitlines()] == [
        expected.replace("\n", " ") for expected in texts
    ]
    assert [record["text"] for record in csv.DictReader(io.StringIO(csv_output.stdout))] == texts
    assert [json.loads(line)["text"] for line in json_output.stdout.splitlines()] == texts
    assert json_output.stdout == run_main("predict", "--read", "--json", str(tmp_path)).stdout
    assert json_output.returncode == 0


@pytest.mark.parametrize("status", [503, 429])
def test_retry_after_is_obeyed(folder: Path, server: Server, complete: dict[str, bytes], status: int) -> None:
    """The client waits for the seconds in Retry-After, twice. Then everything is read, in the same order."""
    arrivals: list[float] = []

    def busy(post: ProxiedPost) -> Action:
        if second_batch(Reply(status))(post):
            arrivals.append(time.monotonic())
            return Reply(status, {"Retry-After": "1"}) if len(arrivals) <= 2 else None
        return None

    with run_proxy(server, busy) as proxy:
        done = run_main("predict", "--url", proxy.url, "--csv", str(folder))
    assert done.stdout.encode() == complete["csv"]
    assert len(arrivals) == 3
    assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(arrivals))


def test_retry_after_may_be_a_date(seven_png: Path, server: Server) -> None:
    """Proxies may send a date action of seconds."""
    waits: list[str] = []
    with run_proxy(server, first(1, Reply(503, {"Retry-After": formatdate(time.time() + 2, usegmt=True)}))) as proxy:
        started = time.monotonic()
        (outcome,) = read(proxy.url, [seven_png], on_wait=waits.append)
    assert outcome.answer
    assert time.monotonic() - started > 0.9  # a date has whole seconds
    assert re.fullmatch(r"503 Service Unavailable; trying again in \d\.\d s", waits[0])


def test_a_retry_after_that_is_too_long_ends_the_run(
    folder: Path, server: Server, tmp_path: Path, complete: dict[str, bytes]
) -> None:
    """Earlier answers are kept, and the same command with --resume reads the rest."""
    output = tmp_path / "x.csv"
    with run_proxy(server, second_batch(Reply(429, {"Retry-After": "9999"}))) as proxy:
        done = run_main("predict", "--url", proxy.url, "--output", str(output), str(folder))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"digitserve: {proxy.url} asks us to wait 9,999 s, which is too long: 429 Too Many Requests.",
        "digitserve: 64 done; run the same command with --resume to continue",
    ]
    assert complete["csv"].startswith(output.read_bytes())
    done = run_main("predict", "--url", server.url, "--output", str(output), "--resume", str(folder))
    assert done.returncode == 1  # some files cannot be read
    assert output.read_bytes() == complete["csv"]


def test_a_cut_connection_is_reopened(folder: Path, server: Server, complete: dict[str, bytes]) -> None:
    """The connection is cut in the middle of the first answer and of every fourth one. Nothing is lost."""
    with run_proxy(server, lambda post: Cut() if post.number % 4 == 0 else None) as proxy:
        done = run_main("predict", "--url", proxy.url, "--json", str(folder))
    assert done.stdout.encode() == complete["json"]
    assert len(proxy.posts) == 7  # five batches, two of which were cut


def test_a_picture_that_breaks_the_connection_affects_no_other(folder: Path, server: Server) -> None:
    """Its outcome is the error. Its batch is halved until the picture is alone."""
    with run_proxy(server, second_batch(Cut())) as proxy:
        outcomes = read(proxy.url, [folder])
    expected = read(server.url, [folder])
    assert outcomes[:100] + outcomes[101:] == expected[:100] + expected[101:]
    assert outcomes[100].error
    assert outcomes[100].error.startswith("The connection broke 3 times")


def test_a_service_that_cuts_every_connection_ends_the_run(folder: Path, server: Server) -> None:
    """The run ends after a few pictures, and none of them has an outcome."""
    with run_proxy(server, always(Cut())) as proxy, pytest.raises(ServiceError, match="The connection broke 3 times"):
        read(proxy.url, [folder])
    assert len(proxy.posts) < 200


def test_a_service_that_stays_busy_ends_the_run(folder: Path, server: Server) -> None:
    """After the maximum number of attempts the run ends. Earlier answers are kept."""
    waits: list[str] = []
    with run_proxy(server, second_batch(Reply(503))) as proxy:
        outcomes: list[Outcome] = []

        async def run() -> None:
            async with connect(proxy.url, max_attempts=5, first_wait_s=0.05, on_wait=waits.append) as client:
                await client.read(find_image_files([folder]), outcomes.extend)

        with pytest.raises(ServiceError, match="failed 5 times: 503 Service Unavailable"):
            asyncio.run(run())
    assert len(outcomes) == 64
    assert len(proxy.posts) <= 5 + 4
    assert len(waits) == 4


def test_the_client_waits_for_a_service_that_restarts(folder: Path) -> None:
    """Nothing listens for a while. Then everything is read."""
    port = free_port()
    outcomes: list[Outcome] = []

    async def run() -> None:
        with running("--port", str(port)) as server:
            connection = connect(server.url, first_wait_s=0.2)
            client = await connection.__aenter__()
        restarted = asyncio.create_task(asyncio.to_thread(serve_again))
        try:
            await client.read(find_image_files([folder]), outcomes.extend)
        finally:
            stop.set()
            await restarted
            await connection.__aexit__(None, None, None)

    stop = threading.Event()

    def serve_again() -> None:
        time.sleep(0.5)
        with running("--port", str(port)):
            stop.wait(30)

    asyncio.run(run())
    assert len(outcomes) == 300
    assert sum(outcome.answer is not None for outcome in outcomes) == 297


def test_a_batch_that_is_too_large_is_halved_and_the_next_one_is_smaller(folder: Path, server: Server) -> None:
    """A proxy answers 413 for more than 12 kB. Nothing is lost, and later batches are smaller."""
    with run_proxy(server, lambda post: Reply(413) if len(post.body) > 12_000 else None) as proxy:
        outcomes = read(proxy.url, [folder] * 4)
    assert outcomes == read(server.url, [folder]) * 4
    refused = [post.number for post in proxy.posts if len(post.body) > 12_000]
    assert 1 <= len(refused) <= 15  # the five batches formed before the first refusal, and their halves
    assert max(refused) < len(proxy.posts) / 2


def test_the_limits_of_the_service_are_respected(folder: Path, digits: Digits, tmp_path: Path) -> None:
    """The real service has small limits for files, for bytes, and for a single picture."""
    (tmp_path / "large.bmp").write_bytes(encode(Image.new("L", (100, 100), 255), "BMP"))
    limits = ("--max-batch", "20", "--max-batch-bytes", "6000", "--max-body-bytes", "5000")
    with running(*limits) as small, run_proxy(small, always(None)) as proxy:
        outcomes = read(proxy.url, [tmp_path, folder])
        expected = read(small.url, [folder])
    assert outcomes[1:] == expected
    assert outcomes[0].error == "The file is larger than the limit of 5,000 bytes."
    assert all(len(post.body) < 50_000 for post in proxy.posts)
    assert sum(outcome.answer is not None for outcome in outcomes) == 297


def test_a_large_picture_is_sent_alone(tmp_path: Path, seven: Grey, server: Server) -> None:
    """A bitmap of 9 MB is over the limit of a batch, so it goes to /predict. The others go in batches."""
    for name in ("a", "b", "y", "z"):
        (tmp_path / f"{name}.png").write_bytes(png(seven))
    large = Image.fromarray(255 - seven).resize((2240, 1400)).convert("RGB")
    (tmp_path / "m.bmp").write_bytes(encode(large, "BMP"))
    with run_proxy(server, always(None)) as proxy:
        outcomes = read(proxy.url, [tmp_path])
    assert [outcome.answer["digit"] for outcome in outcomes if outcome.answer] == [7] * 5
    assert sorted(post.path for post in proxy.posts) == ["/predict", "/predict/batch", "/predict/batch"]


def test_the_api_key_is_sent_and_a_wrong_one_ends_the_run(seven_png: Path, server: Server) -> None:
    """The key comes from the flag or the environment. 401 ends the run at once, with the service's message."""

    def require_key(post: ProxiedPost) -> Action:
        return None if post.api_key == "open sesame" else Reply(401, {"WWW-Authenticate": "X-API-Key"}, PROBLEM)

    with run_proxy(server, require_key) as proxy:
        command = ("predict", "--url", proxy.url, str(seven_png))
        assert run_main(*command, "--api-key", "open sesame").returncode == 0
        assert run_main(*command, DIGITS_API_KEY="open sesame").returncode == 0
        assert run_main(*command, "--api-key", "open sesame", DIGITS_API_KEY="other").returncode == 0
        done = run_main(*command, "--api-key", "other")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"digitserve: POST {proxy.url}/predict: This service asks for an API key. "
            "Set the key with --api-key or DIGITS_API_KEY.\n"
        )
        assert len(proxy.posts) == 4


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


PEAK = """
import pathlib, re, sys
from app.__main__ import main
status = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
sys.exit(status)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path, seven: Grey, server: Server) -> None:
    """3,000 files (60 MB) need no more memory than 300."""
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


def test_without_a_listening_service_the_run_ends_at_once(seven_png: Path) -> None:
    """The error is one line, with the command that starts the service there with this Python."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    done = run_main("predict", "--url", url, str(seven_png))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"digitserve: no connection to {url}: All connection attempts failed. "
        f"To start the service there: {python_command()} -m app serve --port {port}\n"
    )


def test_another_service_is_refused(seven_png: Path, server: Server) -> None:
    """The error is one line, and no picture is sent."""
    done = run_main("predict", "--url", f"{server.url}/livez", str(seven_png))
    assert done.returncode == 1
    assert done.stderr.startswith(f"digitserve: GET {server.url}/livez/info: GET /livez/info: Not Found.")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[]", b'{"predictions": []}', b'{"predictions": [{}, 7]}'])
def test_answers_that_are_not_from_digitserve_end_the_run(seven_png: Path, server: Server, body: bytes) -> None:
    """Such answers may come from a proxy that has a page for everything. Nothing counts as read."""
    for paths in ([seven_png], [seven_png] * 2):
        with run_proxy(server, always(Reply(200, {}, body))) as proxy, pytest.raises(ServiceError, match="answer"):
            read(proxy.url, paths)


def test_without_httpx_one_line_says_what_to_install(seven_png: Path) -> None:
    """Without --url, nothing needs httpx."""
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
        error = f"digitserve: --url needs httpx: {install_command('client')}\n" if status else ""
        assert (done.returncode, done.stderr) == (status, error)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--resume",),
        ("--output", "answers.txt"),
        ("--output", "README.md", "--csv"),
        ("--output", "README.md", "--csv", "--resume"),
        ("--api-key", "x"),
        ("--url", "http://127.0.0.1:8000", "--model", "models/digitnet-1.7.0"),
        ("--url", "http://127.0.0.1:8000", "--api-key", "clé"),
        ("--url", "127.0.0.1:8000"),
        ("--url", "ftp://127.0.0.1"),
        ("--url", "http://127.0.0.1:99999"),
        ("--url", "http://[::1"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_reported_in_one_line(
    seven_png: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status is 2, nothing is read, and no file is created or changed."""
    readme = (ROOT / "README.md").read_bytes()
    arguments = tuple(str(ROOT / argument) if argument == "README.md" else argument for argument in arguments)
    assert main(["predict", *arguments, str(seven_png)]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert (ROOT / "README.md").read_bytes() == readme
    assert not Path("answers.txt").exists()
