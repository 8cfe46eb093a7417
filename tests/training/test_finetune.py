"""Fine-tuning reads a person's pictures from a folder, and makes a model that reads them better."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.model_folder import ModelFolder
from tests.support.pictures import Grey, png
from training.data.mnist import Digits, hold_out, load
from training.data.other_datasets import load_usps
from training.data.populations import HeldOut
from training.errors import DataError
from training.evaluation.metrics import score_all
from training.export.model_writer import NetworkToExport, write_model
from training.export.saved_runs import load_network
from training.finetune import finetune, hold_out_own, load_runs, measure_accuracy, mix_with_mnist, read_folder


def write_folder(folder: Path, digits: list[tuple[int, Grey]]) -> Path:
    for index, (digit, image) in enumerate(digits):
        (folder / str(digit)).mkdir(parents=True, exist_ok=True)
        (folder / str(digit) / f"{index}.png").write_bytes(png(image))
    return folder


def test_pictures_of_any_size_are_brought_to_the_convention(digits: list[tuple[int, Grey]], tmp_path: Path) -> None:
    """Dark on light and five times as large, each picture becomes 28x28, light on black, in its class."""
    large = [(digit, 255 - np.kron(image, np.ones((5, 5), np.uint8))) for digit, image in digits] * 3
    own = read_folder(write_folder(tmp_path / "own", large))
    assert own.images.shape == (60, 28, 28)
    assert sorted(own.labels.tolist()) == sorted(digit for digit, _ in large)
    assert own.images[:, 0].float().mean() < 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "seven").mkdir(), "named 0 to 9"),
        (lambda folder: (folder / "7" / "x.png").write_bytes(b"no image"), r"x\.png: "),
        (lambda folder: [path.unlink() for path in list((folder / "7").iterdir())[:4]], "too few"),
    ],
)
def test_an_unusable_folder_is_refused_with_the_reason(
    change: object, message: str, digits: list[tuple[int, Grey]], tmp_path: Path
) -> None:
    """The error names an unknown folder, a broken picture, or a digit with too few pictures."""
    folder = write_folder(tmp_path / "own", digits * 3)
    assert callable(change)
    change(folder)
    if (folder / "seven").is_dir():
        Image.new("L", (28, 28)).save(folder / "seven" / "a.png")
    with pytest.raises(DataError, match=message):
        read_folder(folder)
    with pytest.raises(DataError, match="named 0 to 9"):
        read_folder(tmp_path)


def test_held_out_digits_are_not_trained_on(small_parts: tuple[Digits, HeldOut]) -> None:
    """Each digit is on one side of the split. An epoch has about as many of a person's digits as of MNIST."""
    kept, held = hold_out_own(small_parts[1])
    assert len(kept) + len(held) == 200
    assert len(held) == 40
    assert len(mix_with_mnist(kept, small_parts[0])) == pytest.approx(2 * len(small_parts[0]), rel=0.1)


@pytest.mark.training
def test_it_learns_to_read_another_handwriting(
    small_model: ModelFolder, small_parts: tuple[Digits, HeldOut], tmp_path: Path
) -> None:
    """A model misreads most mirrored digits. From 160 of them it learns to read the other 40; its manifest says so."""
    mirrored = Digits(small_parts[1].digits.images.flip(2), small_parts[1].digits.labels)
    model = finetune(small_model, mirrored, small_parts, tmp_path / "mine-1.0.0", "mine", "1.0.0", epochs=2)
    metrics = model.manifest.metrics["own"]
    assert metrics["digits"] == 40
    assert metrics["before"] < 0.5
    assert metrics["after"] > metrics["before"] + 0.2
    assert metrics["before"] == measure_accuracy(small_model, hold_out_own(mirrored)[1])
    assert metrics["after"] == measure_accuracy(model, hold_out_own(mirrored)[1])


@pytest.mark.slow
@pytest.mark.training
def test_the_fast_network_adapts_to_usps(released: ModelFolder, data_dir: Path, tmp_path: Path) -> None:
    """From USPS's first 500 digits, the released fast network learns to read the rest about as well or better.

    It reads them well already. So the bounds leave room for what training gives on another CPU: one digit in 300.
    """
    digits = load_usps(data_dir)
    pictures = [(int(digit), image.numpy()) for image, digit in zip(digits.images, digits.labels, strict=True)]
    own = read_folder(write_folder(tmp_path / "usps", pictures[:500]))
    rest = Digits(digits.images[500:], digits.labels[500:])
    training, held_out = hold_out(load(data_dir, "train"), 5_000)
    mnist = training.take(torch.arange(2_000)), held_out.take(torch.arange(1_000))
    run = load_runs(released)["fast"]
    run.recipe = replace(run.recipe, autocast=False)  # bf16 is slow on a CPU that does not support it
    fast = NetworkToExport(run.network, run.recipe.architecture, run.recipe.config, "int8")
    alone = write_model("fast", "1.0.0", {"fast": fast}, [run], *mnist, tmp_path / "fast-1.0.0")
    adapted = finetune(alone, own, mnist, tmp_path / "mine-1.0.0", "mine", "1.0.0", epochs=2)
    assert measure_accuracy(adapted, rest) >= measure_accuracy(alone, rest) - 1 / 300
    metrics = adapted.manifest.metrics["own"]
    assert metrics["digits"] == 100
    assert metrics["after"] >= metrics["before"] - 0.03
    assert model_folder.load(tmp_path / "mine-1.0.0").manifest.id == "mine-1.0.0"


@pytest.mark.slow
@pytest.mark.training
def test_both_networks_of_a_cascade_are_adapted(
    small_cascade: ModelFolder, small_parts: tuple[Digits, HeldOut], tmp_path: Path
) -> None:
    """Every network of a model is trained further, and the model is calibrated again."""
    adapted = finetune(small_cascade, small_parts[1], small_parts, tmp_path / "mine-0.1.0", "mine", "0.1.0", epochs=1)
    assert set(adapted.manifest.networks) == {"fast", "careful"}
    assert adapted.manifest.calibration["torch"].cascade
    images = small_parts[1].digits.images
    for name in ("fast", "careful"):
        before, after = (load_network(model, name).logits(images) for model in (small_cascade, adapted))
        assert not torch.allclose(before, after, atol=0.1)
    assert score_all(open_engine(adapted, "onnxruntime", "cpu"), images.numpy()).probabilities.shape == (200, 10)
