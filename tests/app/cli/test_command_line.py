"""The command line without a service: predict and info."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.errors import install_command
from app.imaging import formats
from tests.support.pictures import Grey, make_page, png
from tests.support.running import ROOT, Server, clean_environment, run_app, run_main


@pytest.fixture
def files(tmp_path: Path, digits: list[tuple[int, Grey]]) -> list[Path]:
    """The golden digits as PNG files."""
    files = []
    for index, (digit, image) in enumerate(digits):
        file = tmp_path / f"{index}-{digit}.png"
        file.write_bytes(png(image))
        files.append(file)
    return files


def test_predict_reads_files(files: list[Path]) -> None:
    """There is one line per file: its name, the digit and the confidence."""
    done = run_app("predict", *map(str, files))
    assert (done.returncode, done.stderr) == (0, "")
    for file, line in zip(files, done.stdout.splitlines(), strict=True):
        name, _, rest = line.partition(": ")
        assert name == str(file)
        assert rest.split()[0] == file.stem.split("-")[1]
        assert rest.split()[1].endswith("%")


def test_predict_answers_as_the_service_does(files: list[Path], server: Server) -> None:
    """With --json, each line is the answer of POST /predict plus the file's name."""
    done = run_main("predict", "--json", *map(str, files))
    for file, line in zip(files, done.stdout.splitlines(), strict=True):
        service = httpx.post(f"{server.url}/predict", files={"file": file.read_bytes()}).json()
        local = json.loads(line)
        assert local == {
            "file": str(file),
            **service,
            "confidence": local["confidence"],
            "probabilities": local["probabilities"],
        }
        assert local["probabilities"] == pytest.approx(service["probabilities"], abs=2e-6)


def test_predict_reads_whole_numbers(tmp_path: Path, digits: list[tuple[int, Grey]], server: Server) -> None:
    """--read prints the text of each file. With --json, it prints the answer of POST /read."""
    file = tmp_path / "number.png"
    file.write_bytes(png(make_page([[image for _, image in digits[:8:2]]])))
    done = run_main("predict", "--read", str(file))
    assert done.stdout.startswith(f"{file}: 0123  ")
    local = json.loads(run_main("predict", "--read", "--json", str(file)).stdout)
    service = httpx.post(f"{server.url}/read", files={"file": file.read_bytes()}).json()
    assert local.pop("file") == str(file)
    assert [local[key] for key in ("text", "accepted", "input", "model")] == [
        service[key] for key in ("text", "accepted", "input", "model")
    ]


def test_predict_continues_after_a_bad_file(files: list[Path], tmp_path: Path) -> None:
    """Bad files are reported on standard error, the others are read, and the exit status is 1."""
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    done = run_main("predict", str(bad), str(tmp_path / "missing.png"), str(files[0]))
    assert done.returncode == 1
    assert f"{bad}: The file is not an image" in done.stderr
    assert "missing.png: No such file" in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_predict_reports_a_blank_picture(tmp_path: Path) -> None:
    """A blank picture contains nothing, and that is not an error."""
    (tmp_path / "blank.png").write_bytes(png(np.zeros((28, 28), np.uint8)))
    done = run_main("predict", str(tmp_path / "blank.png"))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'blank.png'}: nothing (blank)\n")


def test_no_reading_is_shown_as_certain() -> None:
    """A confidence that would be rounded to 100 % is shown as 99.99 %, because no reading is certain."""
    done = run_main("predict", str(ROOT / "docs" / "images" / "seven.png"))
    assert done.stdout.endswith(": 7  99.99%\n")


def test_a_folder_ends_with_a_summary(files: list[Path], tmp_path: Path) -> None:
    """It says how many files were read, accepted and refused for which reason, and where the results are."""
    folder = files[0].parent
    (folder / "blank.png").write_bytes(png(np.zeros((28, 28), np.uint8)))
    done = run_main("predict", str(folder))
    assert done.stderr == "digitserve: 21 of 21 files read: 20 accepted, 1 blank\n"
    output = tmp_path / "digits.csv"
    for more in ((), ("--resume",)):  # a run that has nothing left to do counts what is there
        done = run_main("predict", "--output", str(output), *more, str(folder))
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.splitlines() == [
            "digitserve: 21 of 21 files read: 20 accepted, 1 blank",
            f"digitserve: the results are in {output}",
        ]


def test_a_dash_means_standard_input(seven_png: Path, server: Server) -> None:
    """The picture comes through a pipe, with and without a service. Its name in the results is the dash."""
    for url in ([], ["--url", server.url]):
        for arguments, data, status, printed in (
            (["-"], seven_png.read_bytes(), 0, "-: 7  99."),
            (["--json", "-"], b"no picture", 1, '{"file": "-", "error": "The file is not an image'),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "app", "predict", *url, *arguments],
                cwd=ROOT,
                env=clean_environment(),
                input=data,
                capture_output=True,
                check=False,
            )
            assert (done.returncode, done.stdout.decode()[: len(printed)]) == (status, printed), done.stderr


def test_a_missing_extra_comes_with_the_command_that_adds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A HEIC file without the extra has an error with the command for this installation."""
    monkeypatch.setattr(formats, "is_extra_installed", lambda: False)
    file = tmp_path / "photo.heic"
    file.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    done = run_main("predict", str(file))
    assert done.stderr.endswith(f"it needs the extra heic. Here: {install_command('heic')}\n")


def test_info_prints_the_answer_of_the_service(server: Server) -> None:
    """It prints the same object as GET /info."""
    done = run_main("info")
    assert json.loads(done.stdout) == httpx.get(f"{server.url}/info").json()


def test_a_missing_model_is_an_error_of_one_line() -> None:
    """There is no traceback."""
    done = run_main("info", "--model", "/nowhere")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines() == [
        "digitserve: /nowhere/manifest.json: model folder not found (manifest.json is missing)"
    ]
