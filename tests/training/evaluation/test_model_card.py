"""The model card says what the manifest says."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from app.inference import model_folder
from app.inference.model_folder import ModelFolder
from app.settings import released_model
from training.evaluation.model_card import write_card

SHIPPED = [released_model(), released_model().parent / "textbook-1.0.0"]
PLOTS = ["confusion.png", "history.png", "misread.png", "reliability.png"]

shipped = pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)


@shipped
def test_a_shipped_card_is_made_from_the_manifest(folder: Path, tmp_path: Path) -> None:
    """Written again from the manifest, MODEL_CARD.md is the same."""
    copied = Path(shutil.copytree(folder, tmp_path / "model"))
    card = write_card(model_folder.load(copied), None)
    ours = card.read_text().split("## Loss and accuracy")[0]
    theirs = (folder / "MODEL_CARD.md").read_text().split("## Loss and accuracy")[0]
    assert ours == theirs


@shipped
def test_a_card_links_to_plots_that_exist(folder: Path) -> None:
    """Each picture in the card is a file beside it, and it opens."""
    assert sorted(path.name for path in folder.glob("*.png")) == PLOTS
    card = (folder / "MODEL_CARD.md").read_text()
    for name in PLOTS:
        assert f"]({name})" in card
        with Image.open(folder / name) as image:
            assert image.width > 300


def test_a_card_has_the_figures_of_each_population(small_model: ModelFolder, tmp_path: Path) -> None:
    """Before the test split is read, the card has the held-out digits, population by population, and the seeds."""
    folder = Path(shutil.copytree(small_model.folder, tmp_path / "model"))
    mnist = small_model.manifest.metrics["held_out"]["mnist"]
    worse = {**mnist["onnxruntime"], "digits": 77, "accuracy": 0.75, "errors": 19}
    training = {**small_model.manifest.training, "data": {"trained_on": 800, "held_out": {"mnist": 200, "swiss": 77}}}
    metrics = {
        "held_out": {"mnist": mnist, "swiss": {"onnxruntime": worse}},
        "seeds": {"small": {"swiss": {"0": 0.75, "1": 0.77}}},
    }
    manifest = small_model.manifest.model_copy(update={"metrics": metrics, "training": training})
    model_folder.write_manifest(folder, manifest)
    text = write_card(model_folder.load(folder), None).read_text()
    assert "| | MNIST, 200 digits | Swiss writers, 77 digits |" in text
    accuracy = f"{mnist['onnxruntime']['accuracy']:.2%} ({mnist['onnxruntime']['errors']} misread)"
    assert f"| accuracy | {accuracy} | 75.00% (19 misread) |" in text
    assert "| small | Swiss writers | 76.000% ± 1.414% over 2 seeds | 75.00%, 77.00% |" in text
    assert "Trained on 800 digits per epoch. Held out: 200 of MNIST, 77 of Swiss writers." in text
    assert "kensanata/numbers" in text
    assert "python -m training evaluate" in text
    assert "measured again" not in text


def test_a_card_says_that_its_figures_were_measured_again(small_model: ModelFolder, tmp_path: Path) -> None:
    """It does so if the model was calibrated on other digits than it was measured on."""
    folder = Path(shutil.copytree(small_model.folder, tmp_path / "model"))
    training = {**small_model.manifest.training, "data": {"trained_on": 800, "held_out": {"mnist": 199}}}
    model_folder.write_manifest(folder, small_model.manifest.model_copy(update={"training": training}))
    text = write_card(model_folder.load(folder), None).read_text()
    assert "These figures were measured again" in text


def test_the_card_of_an_unmeasured_model_has_no_figures(small_model: ModelFolder, tmp_path: Path) -> None:
    """It names the command that measures the model."""
    folder = Path(shutil.copytree(small_model.folder, tmp_path / "model"))
    model_folder.write_manifest(folder, small_model.manifest.model_copy(update={"metrics": {}}))
    text = write_card(model_folder.load(folder), None).read_text()
    assert "python -m training evaluate" in text
    assert "confusion.png" not in text
    assert "kensanata" not in text
