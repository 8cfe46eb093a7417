"""The command line without a service: predict, info and --help."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.__main__ import main
from app.settings import Settings
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


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """serve --help lists each flag with its environment variable and its default."""
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')} VALUE" in text
        assert f"[DIGITS_{name.upper()}" in text


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """--help works for each command, and --version prints the version."""
    for arguments in (["--help"], ["predict", "--help"], ["bench", "--help"], ["info", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
    assert "digitserve 0.1.0" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    """--help needs none of the libraries that serve or read, so it is fast."""
    script = (
        "import sys\n"
        "from app.__main__ import make_parser\n"
        "make_parser().format_help()\n"
        "print(*{'cv2', 'fastapi', 'httptools', 'httpx', 'numpy', 'onnxruntime', 'PIL', 'uvicorn'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"
