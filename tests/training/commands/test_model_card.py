"""``model-card`` as a person types it."""

import json
import shutil
from pathlib import Path

from app.inference.model_folder import ModelFolder
from tests.training.commands.running import run_here


def test_a_manifest_of_an_earlier_version_is_an_error_in_one_line(small_model: ModelFolder, folder: Path) -> None:
    """The error names what the manifest does not have, and no traceback is printed."""
    copied = Path(shutil.copytree(small_model.folder, folder / "model"))
    manifest = json.loads((copied / "manifest.json").read_text())
    del manifest["training"]["data"]
    (copied / "manifest.json").write_text(json.dumps(manifest))
    done = run_here(folder, "model-card", "model")
    assert done.returncode == 1
    assert done.stderr == "training: model: the manifest is from an earlier version, and has no 'data'.\n"
