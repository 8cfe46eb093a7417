"""A model and a person's own digits -> a model that reads how they write.

Pictures of any size are brought to the MNIST convention by the service's own code. MNIST's digits are mixed in, so that
what the model knew is not forgotten, and a part of the person's digits is held out, to measure and to calibrate on.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torchvision.datasets import ImageFolder

from app.inference.model_folder import ModelFolder, load, write_manifest
from app.recognition.digit import prepare_file
from app.inference.engine_selection import open_engine
from app.errors import DigitserveError
from training.data.mnist import DataError, Digits
from training.evaluation.metrics import score_all
from training.export.model_folder import Part, read_network, write_model
from training.recipes import Recipe, from_dict
from training.trainer import Epoch, Run, fit

EPOCHS = 4
LEARNING_RATE = 0.02  # a fifth of the recipes': from a good start, small steps
MNIST_BESIDE = 10_000  # of MNIST's digits in a pass; a person's own are repeated until they are as many
HELD_OUT = 0.2  # share of a person's own digits
LEAST = 5  # digits of a class; with fewer there is nothing to learn from and to measure on
MAX_PIXELS = 25_000_000


def read_folder(folder: Path) -> Digits:
    """Read pictures in torchvision's ``ImageFolder`` layout: a folder a class, named 0 to 9. Blank ones are left out.

    Raises:
        DataError: a folder is not named by a digit, a picture cannot be read, or there are too few.
    """
    try:
        found = ImageFolder(str(folder))
    except FileNotFoundError as error:
        raise DataError(f"{folder}: there should be a folder a digit in it, named 0 to 9 ({error})") from None
    if strange := sorted(set(found.classes) - set("0123456789")):
        raise DataError(f"{folder}: folders are named by the digit in their pictures, 0 to 9; not {', '.join(strange)}")
    pictures, labels = [], []
    for path, kind in found.samples:
        try:
            picture = prepare(Path(path).read_bytes(), MAX_PIXELS)
        except (OSError, DigitserveError) as error:
            raise DataError(f"{path}: {error}") from None
        if not picture.blank:
            pictures.append(picture.pixels)
            labels.append(int(found.classes[kind]))
    for name in found.classes:
        if labels.count(int(name)) < LEAST:
            raise DataError(f"{folder / name}: {labels.count(int(name))} digits are too few; {LEAST} are the least")
    return Digits(torch.from_numpy(np.stack(pictures)), torch.tensor(labels))


def part(own: Digits) -> tuple[Digits, Digits]:
    """Divide a person's digits into what is learnt from and what is measured on, each class in proportion."""
    kept, held = train_test_split(np.arange(len(own)), test_size=HELD_OUT, stratify=own.labels, random_state=0)
    return own.take(torch.from_numpy(kept)), own.take(torch.from_numpy(held))


def joined(*parts: Digits) -> Digits:
    return Digits(torch.cat([digits.images for digits in parts]), torch.cat([digits.labels for digits in parts]))


def mixture(own: Digits, mnist: Digits) -> Digits:
    """A pass: some of MNIST's digits, and a person's own, repeated until they are about as many.

    They come mixed, since the first of them also give int8 its ranges.
    """
    generator = torch.Generator().manual_seed(0)
    some = mnist.take(torch.randperm(len(mnist), generator=generator)[:MNIST_BESIDE])
    both = joined(*[own] * max(1, round(len(some) / len(own))), some)
    return both.take(torch.randperm(len(both), generator=generator))


def runs_in(model: ModelFolder) -> dict[str, Run]:
    """Each network of a model as a run that can be gone on with, under the recipe of its members."""
    told = {run["recipe"]["name"]: run for run in reversed(model.manifest.training["runs"])}
    runs = {}
    for name, entry in model.manifest.networks.items():
        made = told.get(name) or next(iter(told.values()))
        recipe = replace(from_dict(made["recipe"]), architecture=entry.architecture, config=entry.config)
        runs[name] = Run(recipe, made["seed"], read_network(model, name))
    return runs


def gentle(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe made short, with small steps."""
    return replace(recipe, epochs=epochs, learning_rate=LEARNING_RATE, ema=0.99 if recipe.ema else None)


def finetune(
    model: ModelFolder,
    own: Digits,
    mnist: tuple[Digits, Digits],
    output: Path,
    name: str,
    version: str,
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
    on_epoch: Callable[[str, Epoch], None] = lambda network, epoch: None,
) -> ModelFolder:
    """Train every network of a model further, and make a new model of them, quantised and calibrated anew.

    A network that int8 would change too much stays in fp32. How many of the person's held-out digits are read rightly,
    before and after, is in the manifest's metrics as "own".

    Args:
        own: what to learn from, and to measure and calibrate on, is taken from these (see ``part``).
        mnist: the digits of the training split, and those of them that are held out.
    """
    kept, held = part(own)
    training = mixture(kept, mnist[0])
    parts: dict[str, Part] = {}
    done: list[Run] = []
    for network, run in runs_in(model).items():

        def show(epoch: Epoch, network: str = network) -> None:
            on_epoch(network, epoch)

        adapted = fit(gentle(run.recipe, epochs), training, seed=seed, start=run.network, on_epoch=show)
        parts[network] = Part.of(adapted, or_plain=True)
        done.append(adapted)
    made = write_model(name, version, parts, done, training, joined(held, mnist[1]), output)
    own_figures = {"digits": len(held), "before": accuracy(model, held), "after": accuracy(made, held)}
    metrics = {**made.manifest.metrics, "own": own_figures}
    write_manifest(output, made.manifest.model_copy(update={"metrics": metrics}))
    return load(output)


def accuracy(model: ModelFolder, digits: Digits) -> float:
    """The share that a model reads rightly, as it ships."""
    scores = score_all(open_engine(model, "onnxruntime", "cpu", torch.get_num_threads()), digits.images.numpy())
    return float((scores.probabilities.argmax(axis=1) == digits.labels.numpy()).mean())
