"""Fine-tuning: adapts a model to the digits of one person.

Pictures of any size are normalised with the service's own code. MNIST digits are mixed in, so that the model does not
forget what it knew. A share of the person's digits is held out, to measure and to calibrate on.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torchvision.datasets import ImageFolder

from app.errors import DigitserveError
from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.model_folder import ModelFolder
from app.recognition.digit import prepare_file
from training.data.mnist import Digits
from training.data.populations import HeldOut, join
from training.errors import DataError
from training.evaluation.metrics import score_all
from training.export.model_writer import NetworkToExport, write_model
from training.export.saved_runs import load_network
from training.recipes import FINETUNE_EPOCHS, Recipe, from_dict
from training.runs import Epoch, Run
from training.trainer import fit

LEARNING_RATE = 0.02  # a fifth of the recipes': the weights are good already, so the steps are small
KNOWN_PER_EPOCH = 10_000  # digits that the model was trained on before; a person's own are repeated as often
HELD_OUT_SHARE = 0.2  # of a person's own digits
MIN_PER_CLASS = 5  # digits; with fewer there is too little to train and to measure on
MAX_PIXELS = 40_000_000  # of one picture


def read_folder(folder: Path) -> Digits:
    """Read pictures in the layout of torchvision's ``ImageFolder``: one folder per digit, named 0 to 9.

    Blank pictures are left out.

    Raises:
        DataError: A folder has another name, a picture cannot be read, or there are too few pictures.
    """
    try:
        found = ImageFolder(str(folder))
    except FileNotFoundError as error:
        raise DataError(f"{folder} must contain one folder per digit, named 0 to 9 ({error})") from None
    if unknown := sorted(set(found.classes) - set("0123456789")):
        raise DataError(
            f"{folder}: folders must be named 0 to 9, by the digit in their pictures. Unknown: {', '.join(unknown)}"
        )
    pictures, labels = [], []
    for path, index in found.samples:
        try:
            picture = prepare_file(Path(path).read_bytes(), MAX_PIXELS)
        except (OSError, DigitserveError) as error:
            raise DataError(f"{path}: {error}") from None
        if not picture.blank:
            pictures.append(picture.pixels)
            labels.append(int(found.classes[index]))
    for name in found.classes:
        if labels.count(int(name)) < MIN_PER_CLASS:
            raise DataError(
                f"{folder / name}: {labels.count(int(name))} digits are too few. At least {MIN_PER_CLASS} are needed."
            )
    return Digits(torch.from_numpy(np.stack(pictures)), torch.tensor(labels))


def hold_out_own(own: Digits) -> tuple[Digits, Digits]:
    """Split a person's digits into those to train on and those to measure on, stratified."""
    kept, held = train_test_split(np.arange(len(own)), test_size=HELD_OUT_SHARE, stratify=own.labels, random_state=0)
    return own.take(torch.from_numpy(kept)), own.take(torch.from_numpy(held))


def mix(own: Digits, known: Digits) -> Digits:
    """Return the digits of an epoch: some that the model knows, and a person's own, repeated until they are as many.

    The order is random, because the first of these digits also set the ranges of int8.
    """
    generator = torch.Generator().manual_seed(0)
    some = known.take(torch.randperm(len(known), generator=generator)[:KNOWN_PER_EPOCH])
    mixture = join(*[own] * max(1, round(len(some) / len(own))), some)
    return mixture.take(torch.randperm(len(mixture), generator=generator))


def load_runs(model: ModelFolder) -> dict[str, Run]:
    """Load each network of a model as a run that can be trained further, with the recipe of its members."""
    values_by_recipe = {run["recipe"]["name"]: run for run in reversed(model.manifest.training["runs"])}
    runs = {}
    for name, entry in model.manifest.networks.items():
        values = values_by_recipe.get(name) or next(iter(values_by_recipe.values()))
        recipe = replace(from_dict(values["recipe"]), architecture=entry.architecture, config=entry.config)
        runs[name] = Run(recipe, values["seed"], load_network(model, name))
    return runs


def adapt_recipe(recipe: Recipe, epochs: int) -> Recipe:
    """Return the recipe with few epochs and small steps."""
    return replace(recipe, epochs=epochs, learning_rate=LEARNING_RATE, ema=0.99 if recipe.ema else None)


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
    on_epoch: Callable[[str, Epoch], None] = lambda network, epoch: None,
) -> ModelFolder:
    """Train every network of a model further, and write a new model, quantised and calibrated again.

    A network that int8 would change too much stays in fp32. The manifest's metrics have the accuracy on the person's
    held-out digits, before and after, as ``own``.

    Args:
        own: The person's digits. ``hold_out_own`` splits them.
        known: Digits that the model was trained on before. Some are mixed in, so that it does not forget them.
        known_held_out: The held-out digits of the same populations.
        force: Replace an existing model folder.

    Raises:
        ExportError: A network cannot be exported, or the folder exists.
    """
    kept, held = hold_out_own(own)
    training = mix(kept, known)
    held_out = HeldOut({**known_held_out.by_population, "own": held})
    networks: dict[str, NetworkToExport] = {}
    runs: list[Run] = []
    for network, run in load_runs(model).items():

        def report_epoch(epoch: Epoch, network: str = network) -> None:
            on_epoch(network, epoch)

        adapted = fit(adapt_recipe(run.recipe, epochs), training, seed=seed, start=run.network, on_epoch=report_epoch)
        networks[network] = NetworkToExport.from_run(adapted, allow_fallback=True)
        runs.append(adapted)
    new_model = write_model(name, version, networks, runs, training, held_out, output, force)
    own_metrics = {
        "digits": len(held),
        "before": measure_accuracy(model, held),
        "after": measure_accuracy(new_model, held),
    }
    metrics = {**new_model.manifest.metrics, "own": own_metrics}
    model_folder.write_manifest(output, new_model.manifest.model_copy(update={"metrics": metrics}))
    return model_folder.load(output)


def measure_accuracy(model: ModelFolder, digits: Digits) -> float:
    """Return the share of digits that a model, as it ships, reads correctly."""
    scores = score_all(open_engine(model, "onnxruntime", "cpu", torch.get_num_threads()), digits.images.numpy())
    return float((scores.probabilities.argmax(axis=1) == digits.labels.numpy()).mean())
