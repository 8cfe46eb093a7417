"""The commands of docs/training.md that take a model: run as they are written there, on a small model."""

import re
import shutil
from pathlib import Path

import pytest

from app.inference import model_folder
from app.inference.model_folder import ModelFolder
from tests.support.running import ROOT
from tests.training.commands.running import run_here

PAGE = (ROOT / "docs" / "training.md").read_text()


@pytest.mark.slow
@pytest.mark.training
def test_the_documented_commands_work(folder: Path, small_model: ModelFolder) -> None:
    """`evaluate` logs the test split, `model-card` writes the card, and `export` writes a model in fp32."""
    shutil.copytree(small_model.folder, folder / "models" / "mine-1.0.0")
    commands = re.findall(r"^python -m training (.*models/mine-1\.0\.0.*)$", PAGE, re.M)
    evaluate, model_card, export = [command for command in commands if not command.startswith(("train ", "finetune "))]
    for command in (evaluate, model_card, export):
        done = run_here(folder, *command.split())
        assert (done.returncode, done.stderr) == (0, ""), command
    assert small_model.manifest.id in (folder / "models" / "test-log.csv").read_text()
    assert (folder / "models" / "mine-1.0.0" / "MODEL_CARD.md").is_file()
    networks = model_folder.load(folder / "runs" / "mine-fp32").manifest.networks
    assert {entry.precision for entry in networks.values()} == {"fp32"}
