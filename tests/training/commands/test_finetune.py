"""``finetune`` as a person types it: what it skips, what it leaves out, and how it is continued."""

from pathlib import Path

import pytest

from app.inference import model_folder
from app.inference.model_folder import ModelFolder
from tests.support.pictures import Grey, png
from tests.support.small_training import SMALL, vary
from tests.training.commands.running import run_here, run_interrupted
from training import batches, finetune
from training.commands import finetune as command


@pytest.fixture
def arguments(
    folder: Path, small_model: ModelFolder, digits: list[tuple[int, Grey]], monkeypatch: pytest.MonkeyPatch
) -> tuple[str, ...]:
    """The command for sixty digits and a broken picture. There is a small MNIST, and there are no Swiss scans."""
    monkeypatch.setattr(command, "FAST", vary(SMALL, swiss=3))
    for index, (digit, image) in enumerate(digits * 3):
        (folder / "own" / str(digit)).mkdir(parents=True, exist_ok=True)
        (folder / "own" / str(digit) / f"{index}.png").write_bytes(png(image))
    (folder / "own" / "7" / "broken.png").write_bytes(b"no image")
    return ("finetune", "own", "--init", str(small_model.folder), "--output", "mine-1.0.0", "--epochs", "1")


@pytest.mark.slow
@pytest.mark.training
def test_it_says_what_it_skips_and_what_it_gains(arguments: tuple[str, ...], folder: Path) -> None:
    """A broken picture is named. Without Swiss scans the model is adapted all the same, and the command says so."""
    done = run_here(folder, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Skipped own/7/broken.png: " in done.stdout
    assert "and 60 digits from own" in done.stdout
    assert "scans.zip is missing" in done.stdout
    assert "The model may forget how Swiss digits look." in done.stdout
    assert "of your 12 held-out digits correctly" in done.stdout
    assert model_folder.load(folder / "mine-1.0.0").manifest.id == "mine-1.0.0"
    assert not (folder / "mine-1.0.0.training").exists()


@pytest.mark.slow
@pytest.mark.training
def test_ctrl_c_keeps_the_networks_that_are_trained(arguments: tuple[str, ...], folder: Path) -> None:
    """The command says how to continue. Repeated, it starts nothing anew without being told so; with --resume it
    does not train again what is trained."""
    done = run_interrupted(folder, finetune, "export_run", *arguments)
    assert done.returncode == 130
    assert "What is done is saved in mine-1.0.0.training" in done.stdout
    assert "--resume" in done.stdout

    refused = run_here(folder, *arguments)
    assert refused.returncode == 1
    assert "Continue it with --resume" in refused.stderr

    resumed = run_interrupted(folder, batches, "prepare", *arguments, "--resume")
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert model_folder.load(folder / "mine-1.0.0").manifest.training["finished"]
    assert not (folder / "mine-1.0.0.training").exists()


def test_ctrl_c_before_the_first_epoch_leaves_nothing(arguments: tuple[str, ...], folder: Path) -> None:
    """The command says so, and can be repeated as it is."""
    done = run_interrupted(folder, batches, "prepare", *arguments)
    assert done.returncode == 130
    assert "Nothing is saved" in done.stdout
    assert not list(folder.glob("mine*"))
