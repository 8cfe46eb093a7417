"""Compare rules for stopping a committee early, by how they change what all members together would read.

    python -m benchmarks.early_exit

Reads what the fast network passes on: held-out MNIST digits, unchanged and under twelve corruptions, and
out-of-distribution pictures. The released model uses the second rule. Needs MNIST (DIGITS_DATA_DIR) and the training
dependencies.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from app.imaging.digit_image import Images
from app.inference import model_folder
from app.inference.cascade import is_below
from app.inference.engine_selection import open_engine
from app.inference.model_folder import ModelFolder
from app.inference.networks import DIGITS
from app.settings import released_model
from benchmarks.data import load_held_out
from training.data.corruptions import CORRUPTIONS, corrupt
from training.data.out_of_distribution import OUT_OF_DISTRIBUTION
from training.evaluation.metrics import score_all
from training.export.early_exit import SURE_OF_DIGIT, SURE_OF_TYPICALITY

Flags = NDArray[np.bool_]
BATCH = 200  # pictures


@dataclass(frozen=True)
class Verdicts:
    """What the first members, and all members, make of N pictures that the fast network passed on."""

    sure_which: Flags  # (N,) the first members are sure which digit it is, at a temperature of 1
    sure_digit: Flags  # (N,) they are sure that it is a digit
    sure_no_digit: Flags  # (N,) they are sure that it is not a digit
    first_read: NDArray[np.int64]  # (N,) the digit that the first members read
    all_read: NDArray[np.int64]  # (N,) the digit that all members read


RULES: dict[str, Callable[[Verdicts], Flags]] = {
    "sure which digit, and sure that it is a digit": lambda it: it.sure_which & it.sure_digit,
    "sure which digit, and sure whether it is a digit": lambda it: it.sure_which & (it.sure_digit | it.sure_no_digit),
    "rule 1, or sure that it is not a digit": lambda it: it.sure_which & it.sure_digit | it.sure_no_digit,
}


class Committee:
    """The careful network of a model, changed to return its first members' logits and to run all members always."""

    def __init__(self, model: ModelFolder) -> None:
        graph = onnx.load_from_string(model.contents[model.manifest.networks["careful"].graph])
        graph.graph.output.append(onnx.helper.make_tensor_value_info("first_logits", onnx.TensorProto.FLOAT, None))
        enough = next(node for node in graph.graph.node if node.output[0] == "enough")
        enough.attribute[0].f = 1.0  # a log confidence is never above 0, so the graph never stops early
        self._session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])

    def __call__(self, images: Images) -> Verdicts:
        parts = [
            self._session.run(["first_logits", "probabilities"], {"images": images[start : start + BATCH]})
            for start in range(0, len(images), BATCH)
        ]
        logits, probabilities = (np.concatenate(each) for each in zip(*parts, strict=True))
        digits = logits[:, :DIGITS].astype(np.float64)
        energy = np.logaddexp.reduce(digits, axis=1)
        typicality = 1 / (1 + np.exp(logits[:, DIGITS] - energy))
        return Verdicts(
            sure_which=np.exp(digits.max(axis=1) - energy) >= SURE_OF_DIGIT,
            sure_digit=typicality >= SURE_OF_TYPICALITY,
            sure_no_digit=typicality <= 1 - SURE_OF_TYPICALITY,
            first_read=digits.argmax(axis=1),
            all_read=probabilities.argmax(axis=1),
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.early_exit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, default=released_model(), help="folder of a cascade [the released one]")
    model = model_folder.load(parser.parse_args().model)
    cascade = model.manifest.calibration["onnxruntime"].cascade
    if not cascade or not model.manifest.networks["careful"].first:
        parser.error(f"{model.manifest.id} has no committee that stops early")
    fast, committee = open_engine(model, "onnxruntime", "cpu", 1, "fast"), Committee(model)
    held_out = load_held_out()
    digits = {"held-out digits": held_out} | {name: corrupt(held_out, name) for name in CORRUPTIONS}
    sets: dict[str, tuple[Images, NDArray[np.int64] | None]] = {
        name: (each.images.numpy(), each.labels.numpy()) for name, each in digits.items()
    }
    sets |= {name: (make(), None) for name, make in OUT_OF_DISTRIBUTION.items()}

    print(f"{model.manifest.id}: of the pictures passed on, how many stop, how many of those all members read")
    print("differently, and how many more are misread")
    print(f"{'':24}{'passed on':>12}" + "".join(f"{'rule ' + str(number + 1):>32}" for number in range(len(RULES))))
    for name, (images, labels) in sets.items():
        unsure = is_below(score_all(fast, images), cascade.gate)
        verdicts = committee(images[unsure])
        row = f"{name:24}{len(verdicts.all_read):>12,}"
        for rule in RULES.values():
            stops = rule(verdicts)
            cell = f"{stops.sum():,} stop"
            if labels is not None:
                truth = labels[unsure]
                misread_more = int(
                    ((verdicts.first_read != truth) & stops).sum() - ((verdicts.all_read != truth) & stops).sum()
                )
                differ = (stops & (verdicts.first_read != verdicts.all_read)).sum()
                cell += f", {differ} differ, {misread_more:+d}"
            row += f"{cell:>32}"
        print(row, flush=True)
    for number, rule_name in enumerate(RULES, 1):
        print(f"rule {number}: {rule_name}")


if __name__ == "__main__":
    main()
