"""Measure how far each monitored statistic moves for several kinds of input: the table of docs/monitoring.md.

    python -m benchmarks.drift [MODEL]

Each kind goes through the normaliser and the released model, as in ``/predict``. The population stability index
compares it with the model's reference, as ``deploy/prometheus/rules.yml`` does. Needs MNIST, and USPS if it is to be
included (DIGITS_DATA_DIR).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from app.imaging.digit_image import Images
from app.imaging.normalize import normalize
from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.engines import Engine
from app.inference.model_folder import Reference
from app.observability.input_statistics import make_reference
from app.settings import released_model
from benchmarks.data import DATA_DIR, load_held_out
from training.data.corruptions import corrupt
from training.data.other_datasets import load_usps
from training.data.out_of_distribution import load_fashion
from training.errors import DataError
from training.evaluation.metrics import score_all

MIN_SHARE = 0.001  # smaller shares count as this


def stability_indexes(live: Reference, expected: Reference) -> dict[str, float]:
    """Compute the population stability index of each statistic, and of the digits read."""

    def stability_index(counts: tuple[int, ...], others: tuple[int, ...]) -> float:
        shares: list[NDArray[np.float64]] = [
            np.maximum(np.array(each) / sum(each), MIN_SHARE) for each in (counts, others)
        ]
        return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())

    signals = {
        name: stability_index(live.signals[name].counts, histogram.counts)
        for name, histogram in expected.signals.items()
    }
    return signals | {"digit": stability_index(live.read, expected.read)}


def count_statistics(engine: Engine, pictures: Images) -> Reference:
    """Count what the service would count for these pictures."""
    normalized = [normalize(picture) for picture in pictures]
    images = np.stack([each.pixels for each in normalized if not each.blank])
    return make_reference(score_all(engine, images), images)


def thicken(pictures: Images) -> Images:
    """Widen every stroke, as a thick pen would."""
    return np.stack([np.asarray(Image.fromarray(each).filter(ImageFilter.MaxFilter(3))) for each in pictures])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.drift", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?", default=released_model(), help="model folder [the released one]")
    folder = parser.parse_args().model
    model = model_folder.load(folder)
    expected = model.manifest.reference
    if expected is None:
        sys.exit(f"{folder} has no reference: its recipe holds out no digits.")
    held_out = load_held_out()
    images, labels = held_out.images.numpy(), held_out.labels.numpy()
    sample = images[np.random.default_rng(0).permutation(len(images))[:800]]
    kinds = {"800 held-out digits": sample, "the same, black on white": 255 - sample}
    try:
        kinds["USPS"] = load_usps(DATA_DIR).images.numpy()
    except DataError as error:
        print(f"Without USPS: {error}")
    kinds |= {name: corrupt(held_out, name).images.numpy() for name in ("shift", "rotate", "blur")}
    kinds |= {
        "a thick pen": thicken(sample),
        "30 % of the brightness": (sample * 0.3).astype(np.uint8),
        "only sevens": images[labels == 7],
        "clothes": load_fashion()[:2000],
    }
    engine = open_engine(model, "onnxruntime", "cpu", torch.get_num_threads())
    print(f"{'':32}{''.join(f'{name:>12}' for name in [*expected.signals, 'digit'])}")
    for name, pictures in kinds.items():
        indexes = stability_indexes(count_statistics(engine, pictures), expected)
        print(f"{name:32}{''.join(f'{value:12.2f}' for value in indexes.values())}")


if __name__ == "__main__":
    main()
