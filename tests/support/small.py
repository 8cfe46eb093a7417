"""A small MNIST for tests of training: real digits, bent into many, in the canonical files."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from app.settings import released_model
from app.inference import model_folder
from training.augmentation.geometry import Augmentation, augment
from training.recipes import FAST, Recipe

GENTLE = Augmentation(
    rotation=10, scale=0.1, shear=0.1, shift=1.5, elastic=0.4, elastic_grid=5, erase=0.0, erase_size=4
)

# Learns the small MNIST in seconds.
SMALL = replace(
    FAST,
    name="small",
    config={"stem": 8, "stages": [[16, 2, 0], [32, 2, 0]]},
    epochs=8,
    batch=20,
    ema=0.9,
    augmentation=GENTLE,
    dirt=0.0,
    junk=0.0,
    autocast=False,
    hold_out=200,
    precision="fp32",
)

# The same, stopped while it still misreads some.
EARLY = replace(SMALL, epochs=4)


def small_mnist(data_dir: Path, train: int, test: int) -> None:
    """Write ``data_dir/MNIST/raw`` with so many digits, made of the twenty golden digits of the released model."""
    golden = model_folder.load(released_model()).manifest.golden
    raw = data_dir / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for seed, (prefix, count) in enumerate((("train", train), ("t10k", test))):
        generator = torch.Generator().manual_seed(seed)
        index = np.arange(count) % len(golden)
        images = torch.from_numpy(np.stack([golden[i].image for i in index]))
        bent = augment(images, GENTLE, generator).round().to(torch.uint8).numpy()
        labels = np.array([golden[i].digit for i in index], np.uint8)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + bent.tobytes())
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())


def small(recipe: Recipe = SMALL, **changes: object) -> Recipe:
    return replace(recipe, **changes)  # type: ignore[arg-type]  # fields of any type
