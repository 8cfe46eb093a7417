"""The recipes: everything that decides a model but the seed and the machine, each a plain value.

Knows nothing of how a recipe is carried out.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from training.augment import Augmentation


@dataclass(frozen=True)
class Recipe:
    """One way of making a model."""

    name: str  # also the name of the network's files
    architecture: str
    config: dict[str, Any]
    epochs: int
    batch: int
    learning_rate: float  # the highest, where the schedule moves
    momentum: float
    schedule: Literal["constant", "one_cycle"] = "constant"
    nesterov: bool = False
    weight_decay: float = 0.0  # on the weights of convolutions and linear layers alone
    l1: float = 0.0  # of the sum of their absolute values, likewise
    ema: float | None = None  # decay a step of the averaged weights that are kept; None keeps the last ones
    augmentation: Augmentation | None = None
    dirt: float = 0.0  # share of the pictures that each kind of dirt falls on
    junk: float = 0.0  # pictures of no digit beside each digit, to be read as "anything else"
    ease: float = 0.0  # share of the run, at its end, over which augmentation and dirt fade
    ease_to: float = 0.0  # what is left of them at the end
    autocast: bool = False  # convolutions in bf16: nearly twice as fast on a CPU that has it
    hold_out: int = 5_000  # digits of the training split that decide; 0 trains on all and calibrates on none
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

# The whole loop while one watches: two passes, a dozen seconds on two cores.
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

BENT = Augmentation(
    rotation=12, scale=0.12, shear=0.15, shift=2, elastic=0.2, elastic_grid=7, erase=0.25, erase_size=5, stroke=0.25
)

# The released model is made of these: the fast one reads nearly everything, and three careful and two wide ones, as a
# committee, read what it is unsure of.
FAST = Recipe(
    name="fast",
    architecture="DigitNet",
    config={"stem": 16, "stages": [[32, 2, 1], [80, 2, 1]], "dropout": 0.1},
    epochs=30,
    batch=128,
    learning_rate=0.1,
    momentum=0.9,
    schedule="one_cycle",
    nesterov=True,
    weight_decay=5e-4,
    ema=0.999,
    augmentation=BENT,
    dirt=0.15,
    junk=0.15,
    ease=0.15,
    autocast=True,
    precision="int8",
)

# The fast one as it was until digitnet-1.3.0: no better for being wider.
WIDE = replace(FAST, name="wide", config={"stem": 16, "stages": [[48, 2, 1], [96, 2, 1]], "dropout": 0.1})

CAREFUL = replace(
    FAST,
    name="careful",
    config={"stem": 16, "stem_stride": 1, "stages": [[48, 2, 1], [80, 2, 1], [112, 2, 1]], "dropout": 0.3},
    epochs=20,
    ease_to=0.3,
)

RECIPES = {recipe.name: recipe for recipe in (TEXTBOOK, QUICK, FAST, WIDE, CAREFUL)}


def from_dict(values: dict[str, Any]) -> Recipe:
    """Rebuild a recipe from ``dataclasses.asdict``, as checkpoints and manifests keep it."""
    bent = values["augmentation"]
    return Recipe(**{**values, "augmentation": Augmentation(**bent) if bent else None})
