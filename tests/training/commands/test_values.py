"""A command line that cannot work is refused at once: before MNIST is read, and without leaving anything behind."""

from pathlib import Path

import pytest

from app.settings import released_model
from tests.training.commands.running import run_here


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an empty data folder, and no network: reading MNIST would fail with another error."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--epochs", "0"),
        ("train", "--epochs", "-1"),
        ("train", "--epochs", "many"),
        ("train", "--seed", "-1"),
        ("train", "--seed", "4294967296"),
        ("train", "--threads", "0"),
        ("train", "--threads", "-2"),
        ("train", "--device", "gpu"),
        ("finetune", "own", "--output", "m", "--epochs", "0"),
        ("finetune", "own", "--output", "m", "--seed", "-1"),
        ("evaluate", "--kfold", "0"),
        ("evaluate", "--kfold", "1"),
        ("evaluate", "--kfold", "5", "--epochs", "0"),
        ("ablation", "--seeds", "0"),
    ],
    ids=" ".join,
)
def test_a_value_out_of_range_is_an_error_of_the_command_line(arguments: tuple[str, ...], empty_folder: Path) -> None:
    """The exit status is 2, and the error names the option and the value."""
    done = run_here(empty_folder, *arguments)
    assert done.returncode == 2
    assert f"argument {arguments[-2]}: '{arguments[-1]}' is not " in done.stderr
    assert [path.name for path in empty_folder.rglob("*")] == ["data"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--device", "cuda:99"), "--device cuda:99: torch"),
        (("evaluate", "--kfold", "5", "--device", "cuda:99"), "--device cuda:99: torch"),
        (("ablation", "--device", "cuda:99"), "--device cuda:99: torch"),
        (("label-errors", "--device", "cuda:99"), "--device cuda:99: torch"),
        (("evaluate", str(released_model()), "missing"), "missing/manifest.json: model folder not found"),
        (("robustness", "missing"), "missing/manifest.json: model folder not found"),
        (("out-of-distribution", "missing"), "missing/manifest.json: model folder not found"),
        (("seeds", "missing", "--into", str(released_model())), "missing/manifest.json: model folder not found"),
        (("train", "--teacher", "missing"), "missing/manifest.json: model folder not found"),
        (("compression", "missing"), "missing/manifest.json: model folder not found"),
        (("export", "missing", "--output", "m"), "missing/manifest.json: model folder not found"),
        (("cascade", "missing", "missing", "--output", "m"), "missing/manifest.json: model folder not found"),
        (("finetune", "missing", "--output", "m"), "missing must contain one folder per digit"),
        (("finetune", "own", "--output", "my model"), "a model's name has only"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_arguments_are_checked_before_mnist_is_read(
    arguments: tuple[str, ...], message: str, empty_folder: Path
) -> None:
    """Each name on the command line is looked up before MNIST. There is no MNIST here, and no error says so."""
    done = run_here(empty_folder, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in empty_folder.rglob("*")] == ["data"]


def test_a_mistyped_data_dir_is_not_created(empty_folder: Path) -> None:
    """The error names the folder and the two places that can set it. Nothing is written."""
    done = run_here(empty_folder, "train", "--data-dir", "dtaa")
    assert done.returncode == 2
    assert "the folder dtaa does not exist (from --data-dir or DIGITS_DATA_DIR)" in done.stderr
    assert [path.name for path in empty_folder.rglob("*")] == ["data"]
