"""Recipes: every choice that determines a model, except the seed and the machine.

Recipes are plain values. This module imports no torch and does not know how a recipe is carried out.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Augmentation:
    """How far a digit may be distorted.

    Each amount is drawn for each picture, uniformly between its negative and itself.
    """

    rotation: float  # degrees
    scale: float  # a share: 0.15 is 0.87 to 1.15 times the size
    shear: float  # pixels of slant per pixel of height
    shift: float  # pixels
    elastic: float  # pixels, the standard deviation of a control point's shift
    elastic_grid: int  # control points along a side
    erase: float  # share of the pictures in which a square is erased
    erase_size: int  # pixels, the side of that square
    stroke: float = 0.0  # pixels that a stroke's edge moves out or in


@dataclass(frozen=True)
class Recipe:
    """One way to make a model."""

    name: str  # also the name of the network's files
    architecture: str
    config: dict[str, Any]
    epochs: int
    batch: int
    learning_rate: float  # the peak, if the schedule varies it
    momentum: float
    schedule: Literal["constant", "one_cycle"] = "constant"
    nesterov: bool = False
    weight_decay: float = 0.0  # only on the weights of convolutions and linear layers
    l1: float = 0.0  # factor of the sum of the absolute values of the same weights
    ema: float | None = None  # decay per step of the averaged weights that are kept; None keeps the last weights
    augmentation: Augmentation | None = None
    dirt: float = 0.0  # soiling: the share of the pictures that each kind of dirt falls on
    blur: float = 0.0  # share of the pictures that are out of focus
    junk: float = 0.0  # outliers: pictures per digit that show no digit, to be read as "anything else"
    letters: float = 0.0  # outliers too: letters of other scripts, per digit
    variants: float = 0.0  # digits as other countries write them, per digit: training/augmentation/variants.py
    teachers: tuple[str, ...] = ()  # models whose mean answer is half of the target; none: the labels alone
    drops_label_errors: bool = False  # leaves out the digits of MNIST in training/data/label_errors.csv
    swiss: int = 0  # how often each digit of the Swiss writers is repeated in an epoch; 0 trains on MNIST alone
    ease: float = 0.0  # share of the run, at its end, over which augmentation and soiling fade
    autocast: bool = False  # bf16 where the device has instructions for it: nearly twice as fast on a CPU
    hold_out: int = 10_000  # held-out digits of MNIST's training split; 0 holds out nothing and calibrates nothing
    precision: Literal["fp32", "int8"] = "fp32"  # of the ONNX graph


TEXTBOOK = Recipe(
    name="textbook",
    architecture="SimpleCNN",
    config={},
    epochs=10,
    batch=64,
    learning_rate=0.001,
    momentum=0.9,
    hold_out=0,
)

# Tries the whole procedure in a dozen seconds on two cores.
QUICK = Recipe(
    name="quick",
    architecture="DigitNet",
    config={"stem": 16, "stages": [[32, 2, 0], [64, 2, 1]]},
    epochs=2,
    batch=160,
    learning_rate=0.15,
    momentum=0.9,
    schedule="one_cycle",
    nesterov=True,
    weight_decay=1e-4,
    ema=0.99,
    augmentation=Augmentation(
        rotation=8, scale=0.1, shear=0.1, shift=1, elastic=0, elastic_grid=2, erase=0, erase_size=5
    ),
    ease=0.3,
)

STANDARD_AUGMENTATION = Augmentation(
    rotation=15, scale=0.12, shear=0.15, shift=2, elastic=0.2, elastic_grid=7, erase=0.25, erase_size=5, stroke=0.25
)

# The released model is made of FAST and LARGE. A fast network reads every picture. A committee of both kinds reads the
# pictures that it is unsure of.
FAST = Recipe(
    name="fast",
    architecture="DigitNet",
    config={"stem": 16, "stages": [[32, 2, 1], [80, 2, 1]], "dropout": 0.1},
    epochs=80,
    batch=128,
    learning_rate=0.1,
    momentum=0.9,
    schedule="one_cycle",
    nesterov=True,
    weight_decay=5e-4,
    ema=0.999,
    augmentation=STANDARD_AUGMENTATION,
    dirt=0.15,
    blur=0.15,
    junk=0.2,
    letters=0.05,
    variants=0.1,
    drops_label_errors=True,
    swiss=3,
    ease=0.15,
    autocast=True,
    precision="int8",
)

# It sees the picture at twice the resolution, so it makes other errors. This helps a committee.
LARGE = replace(
    FAST,
    name="large",
    config={"stem": 16, "stem_stride": 1, "stages": [[48, 2, 1], [80, 2, 1], [112, 2, 1]], "dropout": 0.3},
)

FINETUNE_EPOCHS = 4  # the default of fine-tuning (training/finetune.py)

RECIPES = {recipe.name: recipe for recipe in (TEXTBOOK, QUICK, FAST, LARGE)}

# The ablation (training/evaluation/ablation.py) trains the fast recipe for 8 epochs, 90 seconds on two cores, with one
# ingredient changed. The names are also the values of the column "variant" in docs/ablation.csv.
ABLATION_BASE = replace(FAST, epochs=8)
MNIST_ONLY = replace(ABLATION_BASE, swiss=0, variants=0.0)
LABEL_ERROR_SEARCH = replace(MNIST_ONLY, drops_label_errors=False)  # for training/data/label_errors.csv

ABLATION_VARIANTS: dict[str, Recipe] = {
    "base": ABLATION_BASE,
    "MNIST only": MNIST_ONLY,
    "MNIST and variants": replace(ABLATION_BASE, swiss=0),
    "MNIST and Swiss": replace(ABLATION_BASE, variants=0.0),
    "Swiss once": replace(ABLATION_BASE, swiss=1),
    "Swiss six times": replace(ABLATION_BASE, swiss=6),
    "label errors kept": replace(ABLATION_BASE, drops_label_errors=False),
    "no elastic": replace(ABLATION_BASE, augmentation=replace(STANDARD_AUGMENTATION, elastic=0.0)),
    "no easing": replace(ABLATION_BASE, ease=0.0),
    "no dropout": replace(ABLATION_BASE, config={**FAST.config, "dropout": 0.0}),
    "no dirt": replace(ABLATION_BASE, dirt=0.0),
    "no blur": replace(ABLATION_BASE, blur=0.0),
    "no junk": replace(ABLATION_BASE, junk=0.0),
    "no letters": replace(ABLATION_BASE, letters=0.0),
    "distilled": replace(ABLATION_BASE, teachers=("digitnet-1.7.0",)),
    "rotation 12": replace(ABLATION_BASE, augmentation=replace(STANDARD_AUGMENTATION, rotation=12)),
}


def from_dict(values: dict[str, Any]) -> Recipe:
    """Rebuild a recipe from ``dataclasses.asdict``, the form in which checkpoints and manifests store it.

    Choices that recipes no longer have are left out: models of earlier versions still name them.
    """
    augmentation = values["augmentation"]
    names = {field.name for field in fields(Recipe)}
    return Recipe(
        **{
            **{name: value for name, value in values.items() if name in names},
            "augmentation": Augmentation(**augmentation) if augmentation else None,
            "teachers": tuple(values.get("teachers", ())),  # JSON makes it a list
        }
    )
