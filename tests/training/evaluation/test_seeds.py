"""What a recipe gives with other seeds is collected from the manifests of its runs."""

import copy
import shutil
from pathlib import Path

import pytest

from app.inference import model_folder
from app.inference.model_folder import ModelFolder
from tests.training.commands.running import run_here
from training.errors import EvaluationError
from training.evaluation.seeds import store_seed_accuracies

ACCURACIES = {"mnist": (0.99, 0.98), "swiss": (0.97, 0.95)}  # of seeds 0 and 1
STORED = {"small": {population: {"0": one, "1": other} for population, (one, other) in ACCURACIES.items()}}


@pytest.fixture
def runs(small_model: ModelFolder, tmp_path: Path) -> list[str]:
    """Models of two seeds, whose manifests have these accuracies as shipped, and others in torch."""
    folders = []
    for seed in (0, 1):
        folder = Path(shutil.copytree(small_model.folder, tmp_path / f"small-{seed}"))
        training = copy.deepcopy(small_model.manifest.training)
        training["runs"][0]["seed"] = seed
        held_out = {
            population: {"onnxruntime": {"accuracy": values[seed]}, "torch": {"accuracy": 0.5}}
            for population, values in ACCURACIES.items()
        }
        changes = {"training": training, "metrics": {"held_out": held_out}}
        model_folder.write_manifest(folder, small_model.manifest.model_copy(update=changes))
        folders.append(str(folder))
    return folders


@pytest.fixture
def model(small_model: ModelFolder, tmp_path: Path) -> Path:
    """The folder of the model whose recipe the runs share."""
    return Path(shutil.copytree(small_model.folder, tmp_path / "model"))


def test_accuracies_are_stored_by_recipe_population_and_seed(
    runs: list[str], model: Path, small_model: ModelFolder
) -> None:
    """They are those of the graphs that would ship. The model's other metrics stay."""
    assert store_seed_accuracies(model, [Path(run) for run in runs]) == STORED
    assert model_folder.load(model).manifest.metrics == {**small_model.manifest.metrics, "seeds": STORED}


def test_the_command_prints_the_mean_of_each_population(runs: list[str], model: Path, tmp_path: Path) -> None:
    """Nothing is measured, so no MNIST is needed."""
    (tmp_path / "data").mkdir()
    done = run_here(tmp_path, "seeds", *runs, "--into", str(model))
    assert (done.returncode, done.stderr) == (0, "")
    assert "small, mnist: 98.500% ± 0.707% over 2 seeds\n" in done.stdout
    assert "small, swiss: 96.000% ± 1.414% over 2 seeds\n" in done.stdout
    assert model_folder.load(model).manifest.metrics["seeds"] == STORED


def test_models_without_such_figures_are_refused(
    runs: list[str], model: Path, released: ModelFolder, small_model: ModelFolder, tmp_path: Path
) -> None:
    """A cascade has several recipes, and a run that held nothing out has no figures. The model is unchanged."""
    unmeasured = Path(shutil.copytree(small_model.folder, tmp_path / "unmeasured"))
    model_folder.write_manifest(unmeasured, small_model.manifest.model_copy(update={"metrics": {}}))
    for other in (unmeasured, released.folder):
        with pytest.raises(EvaluationError, match="a model of one network whose recipe holds digits out"):
            store_seed_accuracies(model, [*map(Path, runs), other])
    assert model_folder.load(model).manifest == small_model.manifest
