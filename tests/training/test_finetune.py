"""Fine-tuning makes a model that reads a person's digits better, in all its networks, and can be interrupted."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.model_folder import ModelFolder
from tests.support.pictures import png
from tests.training.commands.running import run_here
from training.data.mnist import Digits, hold_out, load
from training.data.other_datasets import load_usps
from training.data.populations import HeldOut
from training.evaluation.metrics import score_all
from training.export.model_writer import NetworkToExport, write_model
from training.export.saved_runs import load_committee_runs, load_fast_run, load_network
from training.finetune import adapt_recipe, finetune, hold_out_own, load_runs, measure_accuracy, read_folder
from training.recipes import FAST, LARGE, Recipe
from training.runs import Epoch
from training.trainer import Step

EPOCHS = 2


@dataclass
class Progress:
    """What a fine-tuning reports. It interrupts the fine-tuning in one epoch of one network."""

    interrupts: tuple[int, int] | None = None  # number of the network, and of its epoch, from 1
    networks: list[tuple[int, int, int]] = field(default_factory=list)  # number, count, epochs
    trained: set[tuple[int, int]] = field(default_factory=set)
    shown: list[tuple[int, int]] = field(default_factory=list)

    def start_network(self, number: int, count: int, recipe: Recipe) -> None:
        self.networks.append((number, count, recipe.epochs))

    def take_step(self, step: Step) -> None:
        at = self.networks[-1][0], step.epoch
        if at == self.interrupts:
            raise KeyboardInterrupt
        self.trained.add(at)

    def end_epoch(self, epoch: Epoch) -> None:
        self.shown.append((self.networks[-1][0], epoch.epoch))


def mirror(digits: Digits) -> Digits:
    """Mirror digits: a handwriting that no model knows."""
    return Digits(digits.images.flip(2), digits.labels)


def adapt(
    model: ModelFolder,
    small_parts: tuple[Digits, HeldOut],
    output: Path,
    progress: Progress | None = None,
    resume: bool = False,
) -> ModelFolder:
    """Fine-tune a model to mirrored digits. With ``progress``, checkpoints are kept beside the output."""
    progress, is_kept = progress or Progress(), progress is not None
    return finetune(
        model,
        mirror(small_parts[1].digits),
        *small_parts,
        output,
        "mine",
        "1.0.0",
        epochs=EPOCHS,
        seed=3,
        checkpoints=output.parent / "checkpoints" if is_kept else None,
        resume=resume,
        on_network=progress.start_network,
        on_step=progress.take_step,
        on_epoch=progress.end_epoch,
    )


@pytest.fixture(scope="module")
def adapted_cascade(
    small_cascade: ModelFolder, small_parts: tuple[Digits, HeldOut], tmp_path_factory: pytest.TempPathFactory
) -> ModelFolder:
    """The small cascade, adapted without an interruption."""
    return adapt(small_cascade, small_parts, tmp_path_factory.mktemp("models") / "mine-1.0.0")


@pytest.mark.training
def test_it_learns_to_read_another_handwriting(
    small_model: ModelFolder, small_parts: tuple[Digits, HeldOut], tmp_path: Path
) -> None:
    """A model misreads most mirrored digits. From 160 of them it learns to read the other 40; its manifest says so.
    It is measured on the digits that it knew, too."""
    model = adapt(small_model, small_parts, tmp_path / "mine-1.0.0")
    metrics = model.manifest.metrics["own"]
    _, held = hold_out_own(mirror(small_parts[1].digits))
    assert metrics["digits"] == len(held) == 40
    assert metrics["before"] < 0.5
    assert metrics["after"] > metrics["before"] + 0.2
    assert metrics["before"] == measure_accuracy(small_model, held)
    assert metrics["after"] == measure_accuracy(model, held)
    assert model.manifest.training["data"]["held_out"] == {"mnist": 200, "own": 40}
    measured = model.manifest.metrics["held_out"]
    assert {name: result["torch"]["digits"] for name, result in measured.items()} == {"mnist": 200, "own": 40}
    assert measured["own"]["onnxruntime"]["accuracy"] == metrics["after"]
    assert model.manifest.id == "mine-1.0.0"


def test_only_few_and_small_steps_are_made() -> None:
    """A recipe keeps everything except its length, its steps, its averaging and its teachers."""
    recipe = adapt_recipe(replace(LARGE, teachers=("a", "b")), 4)
    assert recipe.learning_rate < LARGE.learning_rate / 4
    assert recipe == replace(LARGE, epochs=4, learning_rate=recipe.learning_rate, ema=0.99)
    assert adapt_recipe(replace(LARGE, ema=None), 4).ema is None


@pytest.mark.slow
@pytest.mark.training
def test_every_network_of_a_cascade_is_adapted(
    small_cascade: ModelFolder, adapted_cascade: ModelFolder, small_parts: tuple[Digits, HeldOut]
) -> None:
    """Each is trained further by itself, with its own seed and recipe kept, and the model is calibrated again."""
    assert set(adapted_cascade.manifest.networks) == {"fast", "careful"}
    assert adapted_cascade.manifest.calibration["torch"].cascade
    assert adapted_cascade.manifest.calibration["torch"].digits == 240
    images = mirror(small_parts[1].digits).images
    runs = [
        (load_fast_run(model.folder), *load_committee_runs(model.folder)) for model in (small_cascade, adapted_cascade)
    ]
    for before, after in zip(*runs, strict=True):
        assert not torch.allclose(before.network.logits(images), after.network.logits(images), atol=0.1)
        assert after.recipe == adapt_recipe(before.recipe, EPOCHS)
        assert len(after.history) == EPOCHS
    assert score_all(open_engine(adapted_cascade, "onnxruntime", "cpu"), images.numpy()).probabilities.shape == (
        200,
        10,
    )


@pytest.mark.slow
@pytest.mark.training
def test_an_interrupted_fine_tuning_ends_as_if_never_stopped(
    small_cascade: ModelFolder, adapted_cascade: ModelFolder, small_parts: tuple[Digits, HeldOut], tmp_path: Path
) -> None:
    """Interrupted in the second epoch of the second of three networks and resumed, it trains only what is missing,
    and gives the same weights bit for bit. Then the checkpoints are gone."""
    output = tmp_path / "mine-1.0.0"
    first, second = Progress(interrupts=(2, 2)), Progress()
    with pytest.raises(KeyboardInterrupt):
        adapt(small_cascade, small_parts, output, first)
    assert first.trained == {(1, 1), (1, 2), (2, 1)}
    assert not output.exists()
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    resumed = adapt(small_cascade, small_parts, output, second, resume=True)
    assert second.trained == {(2, 2), (3, 1), (3, 2)}
    assert second.networks == [(1, 3, EPOCHS), (2, 3, EPOCHS), (3, 3, EPOCHS)]
    assert second.shown == [(number, epoch) for number in (1, 2, 3) for epoch in (1, 2)]
    for name in ("fast", "careful"):
        ours, theirs = (load_network(model, name).state_dict() for model in (resumed, adapted_cascade))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert [path.name for path in tmp_path.iterdir()] == ["mine-1.0.0"]


@pytest.mark.slow
@pytest.mark.training
def test_an_adapted_cascade_can_be_used_in_another_cascade(
    adapted_cascade: ModelFolder, small_parts: tuple[Digits, HeldOut], folder: Path
) -> None:
    """``cascade MODEL MODEL`` takes it apart and joins it again: the networks answer as before."""
    model = str(adapted_cascade.folder)
    done = run_here(folder, "cascade", model, model, "--output", "both-2.0.0")
    assert (done.returncode, done.stderr) == (0, "")
    both = model_folder.load(folder / "both-2.0.0")
    images = small_parts[1].digits.images
    for name in ("fast", "careful"):
        ours, theirs = (load_network(each, name).logits(images) for each in (both, adapted_cascade))
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_a_model_of_one_network_has_one_run(small_model: ModelFolder, released: ModelFolder) -> None:
    """The released model has one for its fast network, which comes first, and one for each careful one."""
    (run,) = load_runs(small_model.folder)
    assert run.recipe.name == "small"
    runs = load_runs(released.folder)
    assert len(runs) == len(released.manifest.training["runs"])
    image = torch.zeros(1, 28, 28)
    torch.testing.assert_close(runs[0].network.logits(image), load_network(released, "fast").logits(image))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.training
def test_the_fast_network_adapts_to_usps(released: ModelFolder, data_dir: Path, tmp_path: Path) -> None:
    """From USPS's first 500 digits, the released fast network learns to read the rest about as well or better.

    It reads them well already. So the bounds leave room for what training gives on another CPU: one digit in 300.
    """
    digits = load_usps(data_dir)
    for index, (image, digit) in enumerate(zip(digits.images[:500], digits.labels[:500], strict=True)):
        (tmp_path / "usps" / str(int(digit))).mkdir(parents=True, exist_ok=True)
        (tmp_path / "usps" / str(int(digit)) / f"{index}.png").write_bytes(png(image.numpy()))
    own = read_folder(tmp_path / "usps").digits
    rest = digits.take(torch.arange(500, len(digits)))
    training, held = hold_out(load(data_dir, "train"), FAST.hold_out)
    known, known_held_out = training.take(torch.arange(2_000)), HeldOut({"mnist": held.take(torch.arange(1_000))})
    run = load_runs(released.folder)[0]
    run.recipe = replace(run.recipe, autocast=False)  # bf16 is slow on a CPU that does not support it
    fast = NetworkToExport(run.network, run.recipe.architecture, run.recipe.config, "int8")
    alone = write_model("fast", "1.0.0", {"fast": fast}, [run], known, known_held_out, tmp_path / "fast-1.0.0")
    adapted = finetune(alone, own, known, known_held_out, tmp_path / "mine-1.0.0", "mine", "1.0.0", epochs=2)
    assert measure_accuracy(adapted, rest) >= measure_accuracy(alone, rest) - 1 / 300
    metrics = adapted.manifest.metrics["own"]
    assert metrics["digits"] == 100
    assert metrics["after"] >= metrics["before"] - 0.03
    assert adapted.manifest.id == "mine-1.0.0"
