"""Model folders: what is found whole, what is refused, and how one is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.inference import model_folder
from app.inference.model_folder import ModelFolder
from app.errors import ModelFolderError


@pytest.fixture
def copy(released: ModelFolder, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released.folder, tmp_path / "model-1.0.0"))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_the_released_model_is_whole(released: ModelFolder) -> None:
    """The folder named by the one constant loads, and holds what its name says."""
    assert released.manifest.id == RELEASED_MODEL
    assert set(released.contents) == {
        f"{network}.{suffix}" for network in ("fast", "careful") for suffix in ("safetensors", "onnx")
    }


def test_one_changed_byte_of_a_weight_is_found(copy: Path, released: ModelFolder) -> None:
    """Whichever file a bit flips in, loading fails and names it."""
    for name in released.manifest.files:
        good = (copy / name).read_bytes()
        (copy / name).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(ModelFolderError, match=rf"{name}: altered") as caught:
            model_folder.load(copy)
        assert "\n" not in str(caught.value)
        (copy / name).write_bytes(good)
    model_folder.load(copy)


def test_a_missing_file_is_named(copy: Path, released: ModelFolder) -> None:
    """A file that the manifest lists and the folder lacks stops the load."""
    (copy / released.manifest.networks["fast"].graph).unlink()
    with pytest.raises(ModelFolderError, match=r"fast\.onnx: No such file"):
        model_folder.load(copy)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A mistyped path says that there is no model folder."""
    with pytest.raises(ModelFolderError, match="no model folder is there"):
        model_folder.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("golden"), "golden: Field required"),
        (lambda m: m.update(schema_version=1), "schema_version"),
        (lambda m: m.update(surprise=1), "surprise"),
        (lambda m: m["networks"]["fast"].update(architecture="Pickle"), "architecture"),
        (lambda m: m["files"].update({"../../etc/passwd": "0" * 64}), "passwd"),
        (lambda m: m["files"].pop("fast.onnx"), r"no SHA-256 of fast\.onnx"),
        (lambda m: m["calibration"].pop("torch"), "no calibration for torch"),
        (lambda m: m["golden"][0].update(pixels="AAAA"), r"golden\.0\.pixels"),
        (lambda m: m["reference"].update(digits=0), r"reference\.digits"),
        (lambda m: m["reference"].update(digits=4999), "counts of confidence are not those of 4999 digits"),
        (lambda m: m["reference"]["signals"]["typicality"]["bounds"].pop(), "counts of typicality"),
        (lambda m: m["reference"]["read"].append(0), r"reference\.read"),
        (lambda m: m["reference"].update(read=[0] * 10), "what was read is not 5000 digits"),
    ],
)
def test_a_manifest_that_breaks_the_schema_is_refused(
    copy: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    """What is wrong with a manifest is said in one line that names the field."""
    edit(copy, change)
    with pytest.raises(ModelFolderError, match=message) as caught:
        model_folder.load(copy)
    assert "\n" not in str(caught.value)


def test_a_model_may_be_without_a_reference(copy: Path) -> None:
    """It is for comparison alone: the folders of before have none, and are models as they were."""
    edit(copy, lambda m: m.pop("reference"))
    assert model_folder.load(copy).manifest.reference is None


def test_a_manifest_that_is_not_json_is_refused(copy: Path) -> None:
    """A manifest cut short is refused like any other fault."""
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text[:100])
    with pytest.raises(ModelFolderError, match=r"manifest\.json: the file: Invalid JSON"):
        model_folder.load(copy)


def test_the_sha256_of_a_model_covers_all_of_it(copy: Path, released: ModelFolder) -> None:
    """A manifest that differs in anything gives another id."""
    assert model_folder.load(copy).sha256 == released.sha256
    edit(copy, lambda m: m.update(created="2000-01-01T00:00:00+00:00"))
    assert model_folder.load(copy).sha256 != released.sha256


def test_a_folder_is_written_whole(tmp_path: Path) -> None:
    """The folder appears when the block has ended, readable by others, and nothing is left beside it."""
    with model_folder.write_atomically(tmp_path / "m-1.0.0") as folder:
        (folder / "manifest.json").write_text("{}")
        assert not (tmp_path / "m-1.0.0").exists()
    assert names(tmp_path) == ["m-1.0.0"]
    assert (tmp_path / "m-1.0.0").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "m-1.0.0" / "manifest.json").stat().st_mode & 0o777 == 0o644


def test_a_folder_whose_writing_fails_is_not_written(copy: Path) -> None:
    """An error, or Ctrl-C, leaves what was there and nothing else."""
    before = (copy / "manifest.json").read_bytes()
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), model_folder.write_atomically(copy) as folder:  # noqa: PT012  # the block is what is tested
            (folder / "manifest.json").write_text("{}")
            raise error
    assert names(copy.parent) == [copy.name]
    assert (copy / "manifest.json").read_bytes() == before


def test_a_model_folder_is_replaced_in_one_step(copy: Path) -> None:
    """Writing over a model folder leaves the new files alone."""
    with model_folder.write_atomically(copy) as folder:
        (folder / "manifest.json").write_text("{}")
    assert names(copy) == ["manifest.json"]
    assert names(copy.parent) == [copy.name]


def test_what_is_not_a_model_folder_is_never_replaced(tmp_path: Path) -> None:
    """A mistyped --output cannot cost anyone their files."""
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "final.tex").write_text("x")
    with pytest.raises(FileExistsError, match="not a model folder"), model_folder.write_atomically(tmp_path / "thesis"):
        pass
    assert (tmp_path / "thesis" / "final.tex").exists()
