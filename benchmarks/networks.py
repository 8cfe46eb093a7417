"""What a model costs: microseconds of one thread a picture, by network and by size of the batch.

Read digits decide the mean of a cascade, so it is measured on real ones: the held-out digits of MNIST where they are
there (DIGITS_DATA_DIR), else the model's own golden digits, which are easy. Each figure is the median of many runs.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app import bundle
from app.engine import Engine, open_engine

BATCHES = (1, 16, 64)
ROUNDS = 5


def digits(model: bundle.Bundle) -> tuple[str, NDArray[np.uint8]]:
    """Pictures ``(N, 28, 28)`` to read, and what they are."""
    folder = Path(os.environ.get("DIGITS_DATA_DIR", "data"))
    if (folder / "MNIST" / "raw").is_dir():
        from training import data

        _, held_out = data.hold_out(data.load(folder, "train"), 5_000)
        return "held-out digits", held_out.images.numpy()
    return "golden digits", np.stack([golden.image for golden in model.manifest.golden] * 50)


def cost(engine: Engine, images: NDArray[np.uint8], batch: int) -> float:
    """Microseconds a picture: the median over rounds of the mean over all pictures."""
    parts = [images[start : start + batch] for start in range(0, len(images) - batch + 1, batch)]
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for part in parts:
            engine(part)
        rounds.append((time.perf_counter() - started) / (len(parts) * batch) * 1e6)
    return statistics.median(rounds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__)
    parser.add_argument("models", type=Path, nargs="*", default=[bundle.released()], help="model folders")
    for folder in parser.parse_args().models:
        model = bundle.load(folder)
        kind, images = digits(model)
        print(f"{model.manifest.id}: microseconds a picture on one thread, {len(images):,} {kind}")
        print(f"{'':14}" + "".join(f"batch of {batch:<6}" for batch in BATCHES))
        names: list[str | None] = [*model.manifest.networks]
        for network in [*names, None] if model.manifest.cascades else names:
            engine = open_engine(model, "onnxruntime", "cpu", 1, network)
            figures = "".join(f"{cost(engine, images, batch):<15.1f}" for batch in BATCHES)
            print(f"{network or 'cascade':14}{figures}")


if __name__ == "__main__":
    main()
