"""The command line without a service: predict, info, help."""

import json
from pathlib import Path

import httpx
import pytest

from app.__main__ import main
from app.settings import Settings
from tests.support.pictures import Grey, make_page, png
from tests.support.running import Server, run_app


@pytest.fixture
def files(tmp_path: Path, digits: list[tuple[int, Grey]]) -> list[Path]:
    files = []
    for index, (digit, image) in enumerate(digits):
        file = tmp_path / f"{index}-{digit}.png"
        file.write_bytes(png(image))
        files.append(file)
    return files


def test_predict_reads_files(files: list[Path]) -> None:
    """One line a file: its name, the digit, how sure."""
    done = run_app("predict", *map(str, files))
    assert (done.returncode, done.stderr) == (0, "")
    for file, line in zip(files, done.stdout.splitlines(), strict=True):
        name, _, rest = line.partition(": ")
        assert name == str(file)
        assert rest.split()[0] == file.stem.split("-")[1]
        assert rest.split()[1].endswith("%")


def test_predict_answers_as_the_service_does(files: list[Path], server: Server) -> None:
    """With --json, the very object that POST /predict answers, and the file's name."""
    done = run_app("predict", "--json", *map(str, files))
    for file, line in zip(files, done.stdout.splitlines(), strict=True):
        service = httpx.post(f"{server.url}/predict", files={"file": file.read_bytes()}).json()
        ours = json.loads(line)
        assert ours == {
            "file": str(file),
            **service,
            "confidence": ours["confidence"],
            "probabilities": ours["probabilities"],
        }
        assert ours["probabilities"] == pytest.approx(service["probabilities"], abs=2e-6)


def test_predict_reads_whole_numbers(tmp_path: Path, digits: list[tuple[int, Grey]], server: Server) -> None:
    """With --read, the text of each file; with --json too, the object that POST /read answers."""
    file = tmp_path / "number.png"
    file.write_bytes(png(make_page([[image for _, image in digits[:8:2]]])))
    done = run_app("predict", "--read", str(file))
    assert done.stdout.startswith(f"{file}: 0123  ")
    ours = json.loads(run_app("predict", "--read", "--json", str(file)).stdout)
    service = httpx.post(f"{server.url}/read", files={"file": file.read_bytes()}).json()
    assert ours.pop("file") == str(file)
    assert [ours[key] for key in ("text", "accepted", "input", "model")] == [
        service[key] for key in ("text", "accepted", "input", "model")
    ]


def test_predict_goes_on_past_a_bad_file(files: list[Path], tmp_path: Path) -> None:
    """What cannot be read is told on standard error, the rest is read, and the exit status is 1."""
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    done = run_app("predict", str(bad), str(tmp_path / "missing.png"), str(files[0]))
    assert done.returncode == 1
    assert f"{bad}: This is not an image" in done.stderr
    assert "missing.png: No such file" in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_predict_says_when_there_is_nothing_to_read(tmp_path: Path) -> None:
    """A blank picture is told as such."""
    import numpy as np

    (tmp_path / "blank.png").write_bytes(png(np.zeros((28, 28), np.uint8)))
    done = run_app("predict", str(tmp_path / "blank.png"))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'blank.png'}: nothing (blank)\n")


def test_info_prints_what_the_service_says(server: Server) -> None:
    """The same object as GET /info."""
    done = run_app("info")
    assert json.loads(done.stdout) == httpx.get(f"{server.url}/info").json()


def test_a_model_that_is_not_there_is_one_line() -> None:
    """Neither predict nor info shows a traceback."""
    done = run_app("info", "--model", "/nowhere")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines() == [
        "digitserve: /nowhere/manifest.json: no model folder is there (manifest.json is missing)"
    ]


def test_help_tells_of_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """serve --help names each flag, its variable and its default."""
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')} VALUE" in text
        assert f"[DIGITS_{name.upper()}" in text


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """--help lists the commands, and --version the version."""
    for arguments in (["--help"], ["predict", "--help"], ["info", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
    assert "digitserve 0.1.0" in capsys.readouterr().out
