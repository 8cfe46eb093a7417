"""Fine-tuning: adapts a model to the digits of one person.

Pictures of any size are normalised with the service's own code. Digits that the model was trained on are mixed in, so
that it does not forget them. A share of the person's digits is held out, to measure and to calibrate on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from app.cli.image_files import scan_folder
from app.errors import DigitserveError
from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.model_folder import ModelFolder
from app.recognition.digit import prepare_file
from training.data.mnist import Digits
from training.data.populations import HeldOut, join
from training.errors import DataError
from training.evaluation.metrics import score_all
from training.export.model_writer import export_cascade, export_run
from training.export.saved_runs import load_committee_runs, load_fast_run, load_run
from training.recipes import FINETUNE_EPOCHS, Recipe
from training.runs import Epoch, Run, remove_checkpoint
from training.trainer import Step, fit

LEARNING_RATE = 0.005  # a twentieth of the recipes': the weights are good already
KNOWN_PER_EPOCH = 2_000  # digits that the model was trained on before; a person's own are repeated as often
KNOWN_HELD_OUT = 2_000  # held-out digits of each known population: enough to calibrate on, and quick to read
HELD_OUT_SHARE = 0.2  # of a person's own digits
MIN_PER_CLASS = 5  # pictures of a digit; with fewer, none of them is held out
MAX_PIXELS = 40_000_000  # of one picture


@dataclass(frozen=True)
class OwnDigits:
    """A person's digits, and the pictures that are not among them, with the reasons."""

    digits: Digits
    skipped: list[str]


def read_folder(folder: Path) -> OwnDigits:
    """Read pictures in one folder per digit, named 0 to 9. It takes the files that ``digitserve predict`` takes.

    Pictures that cannot be read, are blank or show several digits are skipped.

    Raises:
        DataError: A folder has another name, or there are too few pictures.
    """
    pictures, labels, skipped = [], [], []
    for digit, path in find_pictures(folder):
        try:
            picture = prepare_file(path.read_bytes(), MAX_PIXELS)
        except (OSError, DigitserveError) as error:
            skipped.append(f"{path}: {error}")
            continue
        if picture.blank or picture.several:
            skipped.append(f"{path}: it shows {'several digits' if picture.several else 'nothing'}.")
            continue
        pictures.append(picture.pixels)
        labels.append(digit)
    if not labels or max(map(labels.count, labels)) < MIN_PER_CLASS:
        reasons = "".join(f"\n  {reason}" for reason in skipped)
        raise DataError(
            f"{folder}: there are too few pictures. At least {MIN_PER_CLASS} of a digit are needed.{reasons}"
        )
    return OwnDigits(Digits(torch.from_numpy(np.stack(pictures)), torch.tensor(labels)), skipped)


def find_pictures(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield the digit and the path of each picture.

    Raises:
        DataError: There are no folders, or one has another name than 0 to 9.
    """
    names = sorted(path.name for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")) or [""]
    if unknown := [name for name in names if name not in tuple("0123456789")]:
        raise DataError(
            f"{folder} must contain one folder per digit, named 0 to 9."
            + f" Unknown: {', '.join(unknown)}." * (unknown != [""])
        )
    for name in names:
        for image in scan_folder(str(folder / name)):
            if image.error:
                raise DataError(f"{image.file}: {image.error}")
            yield int(name), Path(image.file)


def hold_out_own(own: Digits) -> tuple[Digits, Digits]:
    """Split a person's digits into those to train on and those to measure on, stratified.

    A digit with fewer than ``MIN_PER_CLASS`` pictures is only trained on.
    """
    is_frequent = (torch.bincount(own.labels, minlength=10) >= MIN_PER_CLASS)[own.labels].numpy()
    frequent = np.flatnonzero(is_frequent)
    kept, held = train_test_split(
        frequent, test_size=HELD_OUT_SHARE, stratify=own.labels.numpy()[frequent], random_state=0
    )
    kept = np.concatenate([kept, np.flatnonzero(~is_frequent)])
    return own.take(torch.from_numpy(kept)), own.take(torch.from_numpy(held))


def take_some(digits: Digits, count: int) -> Digits:
    """Take at most ``count`` digits at random, always the same ones."""
    return digits.take(torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))[:count])


def mix(own: Digits, known: Digits) -> Digits:
    """Return the digits of an epoch: some that the model knows, and a person's own, repeated until they are as many.

    The order is random, because the first of these digits also set the ranges of int8.
    """
    some = take_some(known, KNOWN_PER_EPOCH)
    mixture = join(*[own] * max(1, round(len(some) / len(own))), some)
    return take_some(mixture, len(mixture))


def load_runs(folder: Path) -> list[Run]:
    """Load the networks of a model as runs that can be trained further: the fast one first, then the careful ones."""
    if model_folder.load(folder).manifest.has_cascade:
        return [load_fast_run(folder), *load_committee_runs(folder)]
    return [load_run(folder)]


def adapt_recipe(recipe: Recipe, epochs: int) -> Recipe:
    """Return the recipe with few epochs and small steps."""
    return replace(recipe, epochs=epochs, learning_rate=LEARNING_RATE, ema=0.99 if recipe.ema else None, teachers=())


def finetune(
    model: ModelFolder,
    own: Digits,
    known: Digits,
    known_held_out: HeldOut,
    output: Path,
    name: str,
    version: str,
    *,
    epochs: int = FINETUNE_EPOCHS,
    seed: int = 0,
    force: bool = False,
    checkpoints: Path | None = None,
    resume: bool = False,
    on_network: Callable[[int, int, Recipe], None] = lambda number, count, recipe: None,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> ModelFolder:
    """Train every network of a model further, and write a new model, quantised and calibrated again.

    A network that int8 would change too much stays in fp32. The manifest's metrics have the accuracy on the person's
    held-out digits, before and after, as ``own``.

    Args:
        own: The person's digits. ``hold_out_own`` splits them.
        known: Digits that the model was trained on before. Some are mixed in, so that it does not forget them.
        known_held_out: The held-out digits of the same populations.
        force: Replace an existing model folder.
        checkpoints: Folder to save each network in after each epoch. It is removed when the model is written.
        resume: Continue from these checkpoints.
        on_network: Called before a network is trained, with its number from 1, their count, and its recipe.

    Raises:
        ExportError: A network cannot be exported, or the folder exists.
        RunError: The checkpoints are from another fine-tuning.
    """
    kept, held = hold_out_own(own)
    training = mix(kept, known)
    populations = {key: take_some(digits, KNOWN_HELD_OUT) for key, digits in known_held_out.by_population.items()}
    held_out = HeldOut({**populations, "own": held})
    runs = load_runs(model.folder)
    paths = [checkpoints / f"{number}.pt" if checkpoints else None for number in range(len(runs))]
    adapted = []
    for number, (run, path) in enumerate(zip(runs, paths, strict=True)):
        recipe = adapt_recipe(run.recipe, epochs)
        on_network(number + 1, len(runs), recipe)
        adapted.append(
            fit(
                recipe,
                training,
                held,
                seed=seed,
                start=run.network,
                checkpoint=path,
                resume=resume and path is not None and path.exists(),
                on_step=on_step,
                on_epoch=on_epoch,
            )
        )
    if len(adapted) == 1:
        export_run(adapted[0], training, held_out, output, version, force, name=name, allow_fallback=True)
    else:
        fast, *careful = adapted
        export_cascade(fast, careful, training, held_out, output, version, force, name=name, allow_fallback=True)
    new_model = model_folder.load(output)
    own_metrics = {
        "digits": len(held),
        "before": measure_accuracy(model, held),
        "after": measure_accuracy(new_model, held),
    }
    metrics = {**new_model.manifest.metrics, "own": own_metrics}
    model_folder.write_manifest(output, new_model.manifest.model_copy(update={"metrics": metrics}))
    for path in paths:
        if path:
            remove_checkpoint(path)
    return model_folder.load(output)


def measure_accuracy(model: ModelFolder, digits: Digits) -> float:
    """Return the share of digits that a model, as it ships, reads correctly."""
    scores = score_all(open_engine(model, "onnxruntime", "cpu", torch.get_num_threads()), digits.images.numpy())
    return float((scores.probabilities.argmax(axis=1) == digits.labels.numpy()).mean())
