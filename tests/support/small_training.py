"""A small MNIST, recipes that learn it in seconds, and a network that was trained on it.

The weights of that network are committed. Trained inside a test, a network comes out differently on each kind of CPU:
with other errors, and with other digits that it is unsure of. With fixed weights, the tests claim the same everywhere.
To make the weights again, for example when the golden digits of the released model change:

    python -m tests.support.small_training
"""

import struct
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from app.inference import model_folder
from app.inference.networks import build_network
from app.settings import released_model
from training.augmentation.geometry import augment
from training.data.mnist import Digits, hold_out, load
from training.data.populations import HeldOut
from training.recipes import FAST, Augmentation, Recipe
from training.runs import Epoch, Run
from training.trainer import fit, predict

WEIGHTS = Path(__file__).with_name("early_run.safetensors")
HELD_OUT = 200  # digits

MILD_AUGMENTATION = Augmentation(
    rotation=10, scale=0.1, shear=0.1, shift=1.5, elastic=0.4, elastic_grid=5, erase=0.0, erase_size=4
)

# Learns the small MNIST in seconds. Label errors are named by their index in the real MNIST.
SMALL = replace(
    FAST,
    name="small",
    config={"stem": 8, "stages": [[16, 2, 0], [32, 2, 0]]},
    epochs=8,
    batch=20,
    ema=0.9,
    augmentation=MILD_AUGMENTATION,
    dirt=0.0,
    junk=0.0,
    letters=0.0,
    variants=0.0,
    blur=0.0,
    drops_label_errors=False,
    swiss=0,
    autocast=False,
    hold_out=HELD_OUT,
    precision="fp32",
)

# Stops while the network still misreads some digits, but reads most of each class surely.
EARLY = replace(SMALL, epochs=2)


def vary(recipe: Recipe = SMALL, **changes: object) -> Recipe:
    """Return a recipe with some fields changed."""
    return replace(recipe, **changes)  # type: ignore[arg-type]  # fields of any type


def write_small_mnist(data_dir: Path, train: int, test: int) -> None:
    """Write ``data_dir/MNIST/raw`` with this many digits, made of the twenty golden digits of the released model."""
    golden = model_folder.load(released_model()).manifest.golden
    raw = data_dir / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for seed, (prefix, count) in enumerate((("train", train), ("t10k", test))):
        generator = torch.Generator().manual_seed(seed)
        index = np.arange(count) % len(golden)
        images = torch.from_numpy(np.stack([golden[i].image for i in index]))
        distorted = augment(images, MILD_AUGMENTATION, generator).round().to(torch.uint8).numpy()
        labels = np.array([golden[i].digit for i in index], np.uint8)
        header = struct.pack(">IIII", 2051, count, 28, 28)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + distorted.tobytes())
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())


def make_small_parts(data_dir: Path) -> tuple[Digits, HeldOut]:
    """Write a small MNIST. Return 800 digits to train on, and 200 held-out ones."""
    write_small_mnist(data_dir, train=1000, test=10)
    training, held_out = hold_out(load(data_dir, "train"), HELD_OUT)
    return training, HeldOut({"mnist": held_out})


def load_early_run() -> Run:
    """Load the run of ``EARLY`` with seed 0: its committed weights, and a made-up history."""
    network = build_network(EARLY.architecture, EARLY.config)
    network.load_state_dict(safetensors.torch.load_file(WEIGHTS))
    history = [Epoch(epoch, 1 / epoch, 0.8, 0.9, 0.5) for epoch in range(1, EARLY.epochs + 1)]
    return Run(EARLY, 0, network.eval(), history, 1.0)


@torch.no_grad()
def make_similar_run(run: Run, seed: int) -> Run:
    """Return a run with slightly different weights, as another seed would have given."""
    network = build_network(run.recipe.architecture, run.recipe.config)
    network.load_state_dict(run.network.state_dict())
    for parameter in network.parameters():
        wave = torch.arange(parameter.numel(), dtype=torch.float32).sin().view_as(parameter)
        parameter.mul_(1 + 0.05 * wave)
    return Run(run.recipe, seed, network.eval(), run.history, run.seconds)


def main() -> None:
    """Train the network, check that it suits the tests, and write its weights."""
    with tempfile.TemporaryDirectory() as folder:
        training, populations = make_small_parts(Path(folder))
    held_out = populations.digits
    network = fit(EARLY, training, held_out).network
    probabilities, _ = predict(network, held_out.images)
    confidence, read = probabilities.max(dim=1)
    is_correct = read == held_out.labels
    surely_read = torch.bincount(held_out.labels[is_correct & (confidence > 0.9)], minlength=10)
    print(f"{int((~is_correct).sum())} of {HELD_OUT} misread; of each digit, {surely_read.tolist()} are read surely")
    if not 2 <= int((~is_correct).sum()) <= 10 or surely_read.min() < 5:
        raise SystemExit("The tests need 2 to 10 misread digits, and 5 of each class that are read surely.")
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    safetensors.torch.save_file(state, WEIGHTS)


if __name__ == "__main__":
    main()
