"""How far the signals that a service tells of move, for input of several kinds: the table of docs/monitoring.md.

python -m benchmarks.drift [MODEL]

Each kind goes the way of ``/predict``, through the normaliser and the model as it ships, and is compared with the
model's reference by the population stability index, as ``deploy/prometheus/rules.yml`` does. Needs MNIST and, where it
is to be among them, USPS (DIGITS_DATA_DIR).
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from app import bundle
from app.bundle import Reference
from app.engine import Engine, Images, open_engine
from app.normalize import normalize
from app.signals import reference
from training.data import DataError, hold_out, load
from training.evaluate import score_all
from training.robustness import corrupted, usps
from training.strangers import fashion

LEAST = 0.001  # a share below this counts as this


def index(live: Reference, expected: Reference) -> dict[str, float]:
    """The population stability index of each signal, and of which digits are read."""

    def of(counts: tuple[int, ...], others: tuple[int, ...]) -> float:
        shares: list[NDArray[np.float64]] = [np.maximum(np.array(each) / sum(each), LEAST) for each in (counts, others)]
        return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())

    signals = {name: of(live.signals[name].counts, kept.counts) for name, kept in expected.signals.items()}
    return signals | {"digit": of(live.read, expected.read)}


def served(engine: Engine, pictures: Images) -> Reference:
    """What the service would count of pictures."""
    normalized = [normalize(picture) for picture in pictures]
    images = np.stack([each.pixels for each in normalized if not each.blank])
    return reference(score_all(engine, images), images)


def thick(pictures: Images) -> Images:
    return np.stack([np.asarray(Image.fromarray(each).filter(ImageFilter.MaxFilter(3))) for each in pictures])


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else bundle.released()
    data_dir = Path(os.environ.get("DIGITS_DATA_DIR", "data"))
    model = bundle.load(folder)
    expected = model.manifest.reference
    if expected is None:
        sys.exit(f"{folder} has no reference: python -m training reference {folder}")
    _, held_out = hold_out(load(data_dir, "train"), expected.digits)
    every, labels = held_out.images.numpy(), held_out.labels.numpy()
    some = every[np.random.default_rng(0).permutation(len(every))[:800]]
    kinds = {"800 held-out digits": some, "the same, black on white": 255 - some}
    try:
        kinds["USPS"] = usps(data_dir).images.numpy()
    except DataError as error:
        print(f"Left out: {error}")
    kinds |= {name: corrupted(held_out, name).images.numpy() for name in ("shift", "rotate", "blur")}
    kinds |= {
        "a thick pen": thick(some),
        "three tenths of the brightness": (some * 0.3).astype(np.uint8),
        "sevens alone": every[labels == 7],
        "clothes": fashion()[:2000],
    }
    engine = open_engine(model, "onnxruntime", "cpu", torch.get_num_threads())
    print(f"{'':32}{''.join(f'{name:>12}' for name in [*expected.signals, 'digit'])}")
    for name, pictures in kinds.items():
        found = index(served(engine, pictures), expected)
        print(f"{name:32}{''.join(f'{value:12.2f}' for value in found.values())}")


if __name__ == "__main__":
    main()
