"""The model card says what the manifest says."""

import shutil
from pathlib import Path

from PIL import Image

from app.inference import model_folder
from app.inference.model_folder import ModelFolder
from training.evaluation.model_card import write_card


def test_the_released_card_is_made_from_the_manifest(released: ModelFolder, tmp_path: Path) -> None:
    """Written again from the manifest, the released MODEL_CARD.md is the same."""
    folder = Path(shutil.copytree(released.folder, tmp_path / "model"))
    plots = sorted(path.name for path in folder.glob("*.png"))
    card = write_card(model_folder.load(folder), None)
    ours = card.read_text().split("## Loss and accuracy")[0]
    theirs = (released.folder / "MODEL_CARD.md").read_text().split("## Loss and accuracy")[0]
    assert ours == theirs
    assert plots == ["confusion.png", "history.png", "misread.png", "reliability.png"]


def test_a_card_links_to_plots_that_exist(released: ModelFolder) -> None:
    """Each picture in the card is a file beside it, and it opens."""
    card = (released.folder / "MODEL_CARD.md").read_text()
    for name in ("history.png", "confusion.png", "reliability.png", "misread.png"):
        assert f"]({name})" in card
        with Image.open(released.folder / name) as image:
            assert image.width > 300


def test_the_card_of_an_unmeasured_model_has_no_figures(released: ModelFolder, tmp_path: Path) -> None:
    """It names the command that measures the model."""
    folder = Path(shutil.copytree(released.folder, tmp_path / "model"))
    model_folder.write_manifest(folder, released.manifest.model_copy(update={"metrics": {}}))
    text = write_card(model_folder.load(folder), None).read_text()
    assert "python -m training evaluate" in text
    assert "confusion.png" not in text
