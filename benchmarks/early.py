"""When a committee may stop: rules for its first members, by what they change of what all members together read.

    python -m benchmarks.early

Of what the fast network passes on: held-out digits of MNIST, as they are and as twelve corruptions leave them, and
pictures of what is no digit. The rule that ships is the second. Needs MNIST (DIGITS_DATA_DIR), and training installed.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from app import bundle
from app.bundle import Bundle
from app.engine import Images, below, open_engine
from app.network import DIGITS
from training import data
from training.early import SURE_WHETHER, SURE_WHICH
from training.evaluate import score_all
from training.robustness import CORRUPTIONS, corrupted
from training.strangers import STRANGERS

Flags = NDArray[np.bool_]
PARTS = 200  # pictures in one batch


@dataclass(frozen=True)
class Seen:
    """What the first members, and all of them, make of N pictures that were passed on."""

    which: Flags  # (N,) whether the first members are sure which digit it is, at a temperature of 1
    one: Flags  # (N,) whether they are sure that it is a digit
    none: Flags  # (N,) whether they are sure that it is none
    first: NDArray[np.int64]  # (N,) the digit that they read
    all: NDArray[np.int64]  # (N,) the digit that all read


RULES: dict[str, Callable[[Seen], Flags]] = {
    "sure which digit, and that it is one": lambda seen: seen.which & seen.one,
    "sure which digit, and whether it is one or none": lambda seen: seen.which & (seen.one | seen.none),
    "the same, or sure that it is none": lambda seen: seen.which & seen.one | seen.none,
}


class Committee:
    """The careful network of a model, with its first members' logits, and with all members always asked."""

    def __init__(self, model: Bundle) -> None:
        graph = onnx.load_from_string(model.contents[model.manifest.networks["careful"].graph])
        graph.graph.output.append(onnx.helper.make_tensor_value_info("first_logits", onnx.TensorProto.FLOAT, None))
        enough = next(node for node in graph.graph.node if node.output[0] == "enough")
        enough.attribute[0].f = 1.0  # a logarithm that no confidence reaches
        self._session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])

    def __call__(self, images: Images) -> Seen:
        parts = [
            self._session.run(["first_logits", "probabilities"], {"images": images[start : start + PARTS]})
            for start in range(0, len(images), PARTS)
        ]
        logits, probabilities = (np.concatenate(each) for each in zip(*parts, strict=True))
        digits = logits[:, :DIGITS].astype(np.float64)
        energy = np.logaddexp.reduce(digits, axis=1)
        typicality = 1 / (1 + np.exp(logits[:, DIGITS] - energy))
        return Seen(
            which=np.exp(digits.max(axis=1) - energy) >= SURE_WHICH,
            one=typicality >= SURE_WHETHER,
            none=typicality <= 1 - SURE_WHETHER,
            first=digits.argmax(axis=1),
            all=probabilities.argmax(axis=1),
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.early", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=bundle.released(), help="a cascade [default: the released one]")
    model = bundle.load(parser.parse_args().model)
    cascade = model.manifest.calibration["onnxruntime"].cascade
    if not cascade or not model.manifest.networks["careful"].first:
        parser.error(f"{model.manifest.id} has no committee that stops early")
    fast, committee = open_engine(model, "onnxruntime", "cpu", 1, "fast"), Committee(model)
    _, held_out = data.hold_out(data.load(Path(os.environ.get("DIGITS_DATA_DIR", "data")), "train"), 5_000)
    digits = {"held-out digits": held_out} | {name: corrupted(held_out, name) for name in CORRUPTIONS}
    sets: dict[str, tuple[Images, NDArray[np.int64] | None]] = {
        name: (each.images.numpy(), each.labels.numpy()) for name, each in digits.items()
    }
    sets |= {name: (make(), None) for name, make in STRANGERS.items()}

    print(f"{model.manifest.id}: of what is passed on, how much stops, and of that what all members read otherwise")
    print(f"{'':24}{'passed on':>12}" + "".join(f"{'rule ' + str(number + 1):>32}" for number in range(len(RULES))))
    for name, (images, labels) in sets.items():
        unsure = below(score_all(fast, images), cascade.gate)
        seen = committee(images[unsure])
        row = f"{name:24}{len(seen.all):>12,}"
        for rule in RULES.values():
            stops = rule(seen)
            told = f"{stops.sum():,} stop"
            if labels is not None:
                right = labels[unsure]
                lost = int(((seen.first != right) & stops).sum() - ((seen.all != right) & stops).sum())
                told += f", {(stops & (seen.first != seen.all)).sum()} otherwise, {lost:+d}"
            row += f"{told:>32}"
        print(row, flush=True)
    for number, rule_name in enumerate(RULES, 1):
        print(f"rule {number}: {rule_name}")
    print("The last figure is how many more are misread, of those that stop.")


if __name__ == "__main__":
    main()
