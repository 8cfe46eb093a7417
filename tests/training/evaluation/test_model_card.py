"""The card: what it says is what the manifest holds."""

import shutil
from pathlib import Path

from PIL import Image

from app.inference import model_folder
from app.inference.model_folder import ModelFolder
from training.evaluation.model_card import write_card


def test_the_released_card_is_what_the_manifest_makes(released: ModelFolder, tmp_path: Path) -> None:
    """Written again from the manifest, the released MODEL_CARD.md comes out the same."""
    folder = Path(shutil.copytree(released.folder, tmp_path / "model"))
    plots = sorted(path.name for path in folder.glob("*.png"))
    card = write_card(model_folder.load(folder), None)
    ours = card.read_text().split("## Loss and accuracy")[0]
    theirs = (released.folder / "MODEL_CARD.md").read_text().split("## Loss and accuracy")[0]
    assert ours == theirs
    assert plots == ["confusion.png", "history.png", "misread.png", "reliability.png"]


def test_a_card_links_to_plots_that_are_there(released: ModelFolder) -> None:
    """Each picture in the card is a file beside it that opens."""
    card = (released.folder / "MODEL_CARD.md").read_text()
    for name in ("history.png", "confusion.png", "reliability.png", "misread.png"):
        assert f"]({name})" in card
        with Image.open(released.folder / name) as image:
            assert image.width > 300


def test_a_model_that_was_not_measured_says_so(released: ModelFolder, tmp_path: Path) -> None:
    """Without figures, the card has none, and names the command that makes them."""
    folder = Path(shutil.copytree(released.folder, tmp_path / "model"))
    model_folder.write_manifest(folder, released.manifest.model_copy(update={"metrics": {}}))
    text = write_card(model_folder.load(folder), None).read_text()
    assert "python -m training evaluate" in text
    assert "confusion.png" not in text
