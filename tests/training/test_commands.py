"""python -m training, as a person types it: train, stop, resume, export, evaluate, report."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.running import ROOT, run_app
from tests.support.small import small_mnist
from training.__main__ import main

# The recipes of the repository, and a small one that takes seconds.
RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
from tests.support.small import SMALL
from training import __main__, recipes
recipes.RECIPES["small"] = SMALL
sys.exit(__main__.main())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_mnist(tmp_path / "data", train=1000, test=100)
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", RUN, *arguments]


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "DIGITS_DATA_DIR": str(folder / "data"), "COLUMNS": "200"}


def training(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_from_digits_to_a_model_that_is_served(folder: Path) -> None:
    """Train, evaluate, report; then the service's own command line reads a digit with the result."""
    done = training(folder, "train", "--recipe", "small", "--output", "models/small-1.0.0", "--test")
    assert done.returncode == 0, done.stderr
    assert "epoch 8/8  loss" in done.stdout
    assert "100 digits of the test split" in done.stdout
    model = folder / "models" / "small-1.0.0"
    files = {path.name for path in model.iterdir()}
    assert {
        "manifest.json",
        "small.onnx",
        "small.safetensors",
        "MODEL_CARD.md",
        "confusion.png",
        "history.png",
    } <= files
    card = (model / "MODEL_CARD.md").read_text()
    metrics = json.loads((model / "manifest.json").read_text())["metrics"]["test"]["onnxruntime"]
    assert f"| accuracy | {metrics['accuracy']:.2%} ({metrics['errors']} misread)" in card
    assert len((folder / "docs" / "test-log.csv").read_text().splitlines()) == 3
    assert not list(folder.glob("models/*.training"))
    info = json.loads(run_app("info", "--model", str(model)).stdout)
    assert (info["model"]["name"], info["model"]["version"]) == ("small", "1.0.0")


def test_ctrl_c_keeps_the_last_epoch_which_can_be_resumed_or_used(folder: Path) -> None:
    """Interrupted, it says both ways to go on, and both work."""
    arguments = ("train", "--recipe", "small", "--epochs", "400", "--output", "runs/long")
    process = subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoint = folder / "runs" / "long.training" / "checkpoint.pt"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert "--resume" in stdout
    assert "python -m training export runs/long.training --output runs/long" in stdout
    assert not (folder / "runs" / "long").exists()

    again = training(folder, *arguments)
    assert again.returncode == 1
    assert "--resume" in again.stderr

    used = training(folder, "export", "runs/long.training", "--output", "runs/short-0.1.0")
    assert used.returncode in (0, 1), used.stderr  # after an epoch or two it may not read ten digits surely
    if used.returncode == 0:
        refused = training(folder, "evaluate", "runs/short-0.1.0")
        assert refused.returncode == 1
        assert "finished runs alone" in refused.stderr


def test_a_reference_is_added_by_one_command(folder: Path) -> None:
    """To a folder that was made before there were any; and one whose training held nothing out is told so."""
    done = training(folder, "train", "--recipe", "small", "--output", "models/small-1.0.0")
    assert done.returncode == 0, done.stderr
    manifest = folder / "models" / "small-1.0.0" / "manifest.json"
    before = manifest.read_text()
    told = json.loads(before)
    assert told.pop("reference")["digits"] == 200
    manifest.write_text(json.dumps(told))
    done = training(folder, "reference", "models/small-1.0.0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Of 200 held-out digits." in done.stdout
    assert manifest.read_text() == before
    told["training"]["data"]["held_out"] = 0
    manifest.write_text(json.dumps(told))
    done = training(folder, "reference", "models/small-1.0.0")
    assert done.returncode == 1
    assert "none was held out" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_runs_become_a_cascade_that_is_served(folder: Path) -> None:
    """Two trainings and one command make a model whose networks can also be asked for alone."""
    for seed in ("0", "1"):
        done = training(folder, "train", "--recipe", "small", "--seed", seed, "--output", f"runs/small-{seed}")
        assert done.returncode == 0, done.stderr
    done = training(folder, "cascade", "runs/small-0", "runs/small-0", "runs/small-1", "--output", "models/both-2.0.0")
    assert done.returncode == 0, done.stderr
    assert "The careful network reads" in done.stdout
    model = str(folder / "models" / "both-2.0.0")
    thresholds = {
        name: json.loads(run_app("info", "--model", model, "--cascade", name).stdout)["thresholds"]
        for name in ("auto", "fast", "careful")
    }
    manifest = json.loads(Path(model, "manifest.json").read_text())
    calibration = manifest["calibration"]["onnxruntime"]
    assert thresholds["auto"] == calibration["cascade"]["thresholds"]
    for name in ("fast", "careful"):
        assert thresholds[name] == calibration["networks"][name]["thresholds"]
    refused = run_app("info", "--model", str(folder / "runs" / "small-0"), "--cascade", "fast")
    assert refused.returncode == 3
    assert "there is no fast network in this model, only small" in refused.stderr


def test_without_data_the_error_says_what_to_do(tmp_path: Path) -> None:
    """One line that names the folder and the files, and no traceback. Whether there is a network does not matter."""
    blocked = {**environment(tmp_path), "http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}
    done = subprocess.run(
        command("train", "--recipe", "small"), cwd=tmp_path, env=blocked, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "train-images-idx3-ubyte" in done.stderr
    assert str(Path("data") / "MNIST" / "raw") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        *("train", "cascade", "finetune", "evaluate", "export", "reference", "robustness", "strangers", "optimise"),
        *("study", "report"),
    ],
)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help of each says what it takes."""
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert "--data-dir" in capsys.readouterr().out
