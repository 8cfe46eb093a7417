"""``python -m training`` as a person types it: train, interrupt, resume, export, evaluate, write the card."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.inference.model_folder import ModelFolder
from tests.support.running import ROOT, run_app
from tests.support.small_training import make_similar_run, vary, write_small_mnist
from tests.training.commands.running import command, environment, run_here, run_process
from training.__main__ import COMMANDS, main
from training.data.mnist import Digits
from training.data.populations import HeldOut
from training.export.model_writer import export_run
from training.recipes import RECIPES
from training.runs import Run

# Shows the help of every command where none of these packages can be imported.
HELP_WITHOUT_PACKAGES = """
import sys
for name in ("torch", "torchvision", "safetensors", "onnx", "onnxruntime", "sklearn", "scipy", "matplotlib", "rich"):
    sys.modules[name] = None
from training.__main__ import COMMANDS, main
for command in [None, *COMMANDS]:
    name = command.__name__.rpartition(".")[2].replace("_", "-") if command else None
    try:
        main([name, "--help"] if name else ["--help"])
    except SystemExit as end:
        assert end.code == 0, name
"""

NAMES = [command.__name__.rpartition(".")[2].replace("_", "-") for command in COMMANDS]


@pytest.fixture(scope="module")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a folder with a model that was trained, evaluated and described by one command. Tests must not change it."""
    folder = tmp_path_factory.mktemp("trained")
    write_small_mnist(folder / "data", train=1000, test=100)
    done = run_process(folder, "train", "--recipe", "small", "--output", "models/small-1.0.0", "--test")
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout)
    return folder


@pytest.mark.slow
@pytest.mark.training
def test_from_digits_to_a_model_that_is_served(trained_folder: Path) -> None:
    """Train, evaluate, write the card. Then the service's own command line reads the model."""
    stdout = (trained_folder / "stdout").read_text()
    assert "epoch 8/8  loss" in stdout
    assert "100 digits of the test split" in stdout
    model = trained_folder / "models" / "small-1.0.0"
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
    assert len((trained_folder / "models" / "test-log.csv").read_text().splitlines()) == 2
    assert not list(trained_folder.glob("models/*.training"))
    info = json.loads(run_app("info", "--model", str(model)).stdout)
    assert (info["model"]["name"], info["model"]["version"]) == ("small", "1.0.0")


@pytest.mark.slow
@pytest.mark.training
def test_ctrl_c_keeps_the_last_epoch_which_can_be_resumed_or_used(folder: Path) -> None:
    """The interrupted command names both ways to continue, and both work."""
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

    again = run_here(folder, *arguments)
    assert again.returncode == 1
    assert "--resume" in again.stderr

    used = run_here(folder, "export", "runs/long.training", "--output", "runs/short-0.1.0")
    assert used.returncode in (0, 1), used.stderr  # after one or two epochs it may not read ten digits surely
    if used.returncode == 0:
        refused = run_here(folder, "evaluate", "runs/short-0.1.0")
        assert refused.returncode == 1
        assert "only for finished runs" in refused.stderr


@pytest.mark.slow
@pytest.mark.training
def test_a_model_is_trained_with_teachers(folder: Path, small_model: ModelFolder) -> None:
    """The manifest names them, so that it says how the model came about."""
    for name in ("one", "other"):
        shutil.copytree(small_model.folder, folder / "runs" / name)
    done = run_here(folder, "train", "--recipe", "small", "--teacher", "runs/one", "runs/other", "--output", "runs/m")
    assert (done.returncode, done.stderr) == (0, "")
    manifest = json.loads((folder / "runs" / "m" / "manifest.json").read_text())
    assert manifest["training"]["runs"][0]["recipe"]["teachers"] == ["one", "other"]
    assert manifest["metrics"]["held_out"]["mnist"]["onnxruntime"]["accuracy"] > 0.9


@pytest.mark.slow
@pytest.mark.training
def test_swiss_digits_are_needed_unless_they_are_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe with Swiss digits ends with an error that names --mnist-only, and with that option it trains."""
    monkeypatch.setitem(RECIPES, "both", vary(name="both", swiss=3))
    arguments = ("train", "--recipe", "both", "--output", "runs/m")
    refused = run_here(folder, *arguments)
    assert refused.returncode == 1
    assert "--mnist-only" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    done = run_here(folder, *arguments, "--mnist-only")
    assert (done.returncode, done.stderr) == (0, "")
    manifest = json.loads((folder / "runs" / "m" / "manifest.json").read_text())
    assert manifest["training"]["data"] == {"trained_on": 800, "held_out": {"mnist": 200}}


@pytest.mark.long
@pytest.mark.slow
def test_two_runs_become_a_cascade_that_is_served(
    folder: Path, early_run: Run, small_parts: tuple[Digits, HeldOut]
) -> None:
    """One command makes a cascade of two runs. Each of its networks can also serve alone."""
    for seed, run in enumerate((early_run, make_similar_run(early_run, 1))):
        export_run(run, *small_parts, folder / "runs" / f"small-{seed}", "0.0.0")
    done = run_here(folder, "cascade", "runs/small-0", "runs/small-0", "runs/small-1", "--output", "models/both-2.0.0")
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
    assert "this model has no fast network, only small" in refused.stderr


def test_without_data_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names the folder and the files, without a traceback. The test cuts off the network, if there is one."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    (tmp_path / "data").mkdir()
    done = run_here(tmp_path, "train", "--recipe", "small")
    assert done.returncode == 1
    assert "train-images-idx3-ubyte" in done.stderr
    assert str(Path("data") / "MNIST" / "raw") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help of each command lists its options."""
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert "--data-dir" in capsys.readouterr().out


def test_the_commands_are_the_documented_ones() -> None:
    """Users type these names."""
    assert [
        *("train", "cascade", "finetune", "label-errors", "evaluate", "export", "robustness", "seeds"),
        *("out-of-distribution", "compression", "ablation", "model-card"),
    ] == NAMES


def test_help_needs_no_torch() -> None:
    """The help of every command works without torch and the other large packages, so it is also fast."""
    done = subprocess.run(
        [sys.executable, "-c", HELP_WITHOUT_PACKAGES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    for name in NAMES:
        assert f"usage: python -m training {name} " in done.stdout
