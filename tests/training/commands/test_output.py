"""Training commands replace nothing without ``--force``, and say so before they start to work."""

import shutil
from pathlib import Path

import pytest

from app.inference import model_folder
from app.inference.model_folder import ModelFolder
from app.settings import released_model
from tests.training.commands.running import run_here, run_interrupted
from training.commands import train
from training.data.mnist import Digits
from training.data.populations import HeldOut
from training.errors import ExportError
from training.export.model_writer import export_run, write_folder
from training.runs import Run

# Each command that writes a model folder. Their other arguments do not exist, so working would give another error.
WRITERS = [
    ("train", "--recipe", "small"),
    ("export", "missing"),
    ("cascade", "missing", "missing"),
    ("finetune", "missing"),
]


@pytest.fixture
def models(tmp_path: Path, small_model: ModelFolder) -> Path:
    """A folder with a model ``mine-1.0.0`` in it, and no MNIST."""
    shutil.copytree(small_model.folder, tmp_path / "mine-1.0.0")
    (tmp_path / "data").mkdir()
    return tmp_path


def read_all(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("arguments", WRITERS, ids=lambda arguments: arguments[0])
def test_a_model_is_not_replaced_without_force(arguments: tuple[str, ...], models: Path) -> None:
    """The command fails before it reads anything else, names --force, and changes no file."""
    before = read_all(models)
    done = run_here(models, *arguments, "--output", "mine-1.0.0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "mine-1.0.0 exists. Choose another --output, or replace that model with --force." in done.stderr
    assert read_all(models) == before


@pytest.mark.parametrize("arguments", WRITERS, ids=lambda arguments: arguments[0])
def test_the_released_model_is_not_replaced_either(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """An absolute --output to the released model is refused, too."""
    done = run_here(tmp_path, *arguments, "--output", str(released_model()), "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert "exists. Choose another --output" in done.stderr


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
@pytest.mark.parametrize("arguments", WRITERS, ids=lambda arguments: arguments[0])
@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("link", "is a symbolic link"),
        ("dangling", "is a symbolic link"),
        ("thesis", "is not a model folder"),
        ("file", "is not a model folder"),
        ("file/m", "is not a folder that you may write to"),
        (".", "give the model folder a name"),
        ("..", "give the model folder a name"),
    ],
)
def test_other_outputs_are_refused_even_with_force(
    output: str, message: str, arguments: tuple[str, ...], force: tuple[str, ...], models: Path
) -> None:
    """A link, a file, a folder of something else or no name at all: nothing is touched."""
    (models / "link").symlink_to(models / "mine-1.0.0")
    (models / "dangling").symlink_to(models / "nowhere")
    (models / "thesis").mkdir()
    (models / "thesis" / "final.tex").write_text("x")
    (models / "file").write_text("x")
    before = read_all(models)
    done = run_here(models, *arguments, "--output", output, *force)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert read_all(models) == before
    assert (models / "link").is_symlink()


def test_with_force_a_model_is_replaced_and_a_crash_is_in_nobodys_way(folder: Path, small_model: ModelFolder) -> None:
    """The folder has only the new files. Folders that crashes left behind, of any age, stay as they are."""
    shutil.copytree(small_model.folder, folder / "mine-1.0.0")
    (folder / "mine-1.0.0" / "MODEL_CARD.md").write_text("of the old model")
    for leftover in (".mine-1.0.0.old", ".mine-1.0.0.abcdefgh"):
        shutil.copytree(small_model.folder, folder / leftover)
    before = sorted(path.name for path in folder.iterdir())
    done = run_here(folder, "export", str(small_model.folder), "--output", "mine-1.0.0", "--force")
    assert (done.returncode, done.stderr) == (0, "")
    assert model_folder.load(folder / "mine-1.0.0").manifest.version == "1.0.0"
    assert sorted(path.name for path in (folder / "mine-1.0.0").iterdir()) == [
        "manifest.json",
        "small.onnx",
        "small.safetensors",
    ]
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.slow
@pytest.mark.training
def test_a_run_is_resumed_in_its_own_folder_without_force(folder: Path) -> None:
    """--force is about the model folder. Ctrl-C during the export keeps the run as well, and prints how to resume."""
    arguments = ("train", "--recipe", "small", "--output", "runs/m")
    done = run_interrupted(folder, train, "export_and_print", *arguments)
    assert done.returncode == 130
    assert "To continue: repeat the command with --resume" in done.stdout

    refused = run_here(folder, *arguments)
    assert refused.returncode == 1
    assert "Continue it with --resume" in refused.stderr

    resumed = run_here(folder, *arguments, "--resume")
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert [path.name for path in (folder / "runs").iterdir()] == ["m"]

    refused = run_here(folder, *arguments, "--resume")
    assert refused.returncode == 1
    assert "--force" in refused.stderr


def test_the_result_of_a_cross_validation_is_not_replaced_without_force(tmp_path: Path) -> None:
    """It takes hours to make."""
    (tmp_path / "data").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "kfold-fast-3.json").write_text("{}")
    done = run_here(tmp_path, "evaluate", "--kfold", "5", "--seed", "3")
    assert done.returncode == 1
    assert "kfold-fast-3.json exists. Move it away, or replace it with --force." in done.stderr


def test_a_model_that_appears_during_the_work_is_not_replaced(
    early_run: Run, small_parts: tuple[Digits, HeldOut], small_model: ModelFolder
) -> None:
    """The writer refuses as well, at the end. The other model is unchanged, and no temporary folder is left."""
    before = read_all(small_model.folder.parent)
    with pytest.raises(ExportError, match="exists"):
        export_run(early_run, *small_parts, small_model.folder, "1.2.3")
    assert read_all(small_model.folder.parent) == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_changes_nothing(error: type[BaseException], models: Path) -> None:
    """After an error or Ctrl-C the old model is unchanged, and no temporary folder is left."""
    before = read_all(models)
    with pytest.raises(error), write_folder(models / "mine-1.0.0", force=True) as folder:  # noqa: PT012  # it is about the block
        (folder / "manifest.json").write_text("{}")
        raise error
    assert read_all(models) == before
    assert sorted(path.name for path in models.iterdir()) == ["data", "mine-1.0.0"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_if_the_second_rename_fails_the_old_model_comes_back(
    error: type[BaseException], models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two renames, an error or Ctrl-C puts the old folder back."""
    rename = Path.rename

    def fail_for_the_new(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise error
        return rename(self, target)

    before = read_all(models)
    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises((ExportError, error)), write_folder(models / "mine-1.0.0", force=True) as folder:
        (folder / "manifest.json").write_text("{}")
    assert read_all(models) == before


def test_a_written_folder_is_readable_by_others(tmp_path: Path) -> None:
    """Another user may serve the model. The folder appears only when the block ends."""
    with write_folder(tmp_path / "m-1.0.0", force=False) as folder:
        (folder / "manifest.json").write_text("{}")
        assert not (tmp_path / "m-1.0.0").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["m-1.0.0"]
    assert (tmp_path / "m-1.0.0").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "m-1.0.0" / "manifest.json").stat().st_mode & 0o777 == 0o644
