"""Model folders: how they are verified."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import ModelFolderError
from app.inference import model_folder
from app.inference.loaded_model import ModelOptions, load_model
from app.inference.model_folder import ModelFolder
from app.settings import RELEASED_MODEL


@pytest.fixture
def copy(released: ModelFolder, tmp_path: Path) -> Path:
    """A copy of the released model."""
    return Path(shutil.copytree(released.folder, tmp_path / "model-1.0.0"))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest of a model folder."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_the_released_model_is_complete(released: ModelFolder) -> None:
    """The released model has the name in the settings, and a checkpoint and a graph for each network."""
    assert released.manifest.id == RELEASED_MODEL
    assert set(released.contents) == {
        f"{network}.{suffix}" for network in ("fast", "careful") for suffix in ("safetensors", "onnx")
    }


def test_one_flipped_bit_is_found(copy: Path, released: ModelFolder) -> None:
    """If a bit flips in any file, loading fails and names the file."""
    for name in released.manifest.files:
        good = (copy / name).read_bytes()
        (copy / name).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(ModelFolderError, match=rf"{name}: altered") as caught:
            model_folder.load(copy)
        assert "\n" not in str(caught.value)
        (copy / name).write_bytes(good)
    model_folder.load(copy)


def test_a_missing_file_is_named(copy: Path, released: ModelFolder) -> None:
    """Loading fails if the folder lacks a file that the manifest lists."""
    (copy / released.manifest.networks["fast"].graph).unlink()
    with pytest.raises(ModelFolderError, match=r"fast\.onnx: No such file"):
        model_folder.load(copy)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """For a mistyped path, the error says that there is no model folder."""
    with pytest.raises(ModelFolderError, match="model folder not found"):
        model_folder.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("golden"), "golden: Field required"),
        (lambda m: m.update(schema_version=1), "schema_version"),
        (lambda m: m.update(surprise=1), "surprise"),
        (lambda m: m["networks"]["fast"].update(architecture="Pickle"), "architecture"),
        (lambda m: m["files"].update({"../../etc/passwd": "0" * 64}), "passwd"),
        (lambda m: m["files"].pop("fast.onnx"), r"no SHA-256 for fast\.onnx"),
        (lambda m: m["calibration"].pop("torch"), "no calibration for torch"),
        (lambda m: m["golden"][0].update(pixels="AAAA"), r"golden\.0\.pixels"),
        (lambda m: m["reference"].update(digits=0), r"reference\.digits"),
        (lambda m: m["reference"].update(digits=4999), "counts of confidence do not add up to 4999 digits"),
        (lambda m: m["reference"]["signals"]["typicality"]["bounds"].pop(), "counts of typicality"),
        (lambda m: m["reference"]["read"].append(0), r"reference\.read"),
        (lambda m: m["reference"].update(read=[0] * 10), "counts of read do not add up to 11787 digits"),
    ],
)
def test_a_manifest_that_breaks_the_schema_is_refused(
    copy: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    """The error is one line that names the field."""
    edit(copy, change)
    with pytest.raises(ModelFolderError, match=message) as caught:
        model_folder.load(copy)
    assert "\n" not in str(caught.value)


def test_a_model_may_have_no_reference(copy: Path) -> None:
    """The reference is only for comparison. Older models have none, and still load."""
    edit(copy, lambda m: m.pop("reference"))
    assert model_folder.load(copy).manifest.reference is None


def test_a_manifest_that_is_not_json_is_refused(copy: Path) -> None:
    """A truncated manifest is refused like any other faulty one."""
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text[:100])
    with pytest.raises(ModelFolderError, match=r"manifest\.json: Invalid JSON"):
        model_folder.load(copy)


def test_the_sha256_of_a_model_covers_all_of_it(copy: Path, released: ModelFolder) -> None:
    """Any change of the manifest changes the SHA-256."""
    assert model_folder.load(copy).sha256 == released.sha256
    edit(copy, lambda m: m.update(created="2000-01-01T00:00:00+00:00"))
    assert model_folder.load(copy).sha256 != released.sha256


def test_a_model_in_use_keeps_no_copy_of_its_files(released: ModelFolder) -> None:
    """Eleven megabytes of weights and graphs are needed only until the engine has read them."""
    loaded = load_model(released.folder, ModelOptions(), lambda error: None)
    assert not loaded.folder.contents
    loaded.read_golden_digits()
