"""``digitserve predict --url``: a running service reads a folder."""

import csv
import io
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from app.__main__ import main
from app.errors import install_command
from tests.app.cli.reading import Digits, always, read
from tests.support.faulty_proxy import Action, ProxiedPost, Reply, run_proxy
from tests.support.pictures import Grey, encode, make_page, png
from tests.support.running import ROOT, Server, clean_environment, run_main, running

PROBLEM = b'{"title": "No", "status": 401, "detail": "This service asks for an API key."}'


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
