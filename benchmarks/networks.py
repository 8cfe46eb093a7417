"""Measure what a model costs: microseconds of one thread per picture, for each network and batch size.

How many pictures a cascade passes on decides its mean cost. So it reads real digits: MNIST's held-out digits if
DIGITS_DATA_DIR has them, otherwise the model's golden digits, which are easy. Each figure is the median of many runs.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.engines import Engine
from app.settings import released_model

BATCH_SIZES = (1, 16, 64)
ROUNDS = 5


def load_digits(model: model_folder.ModelFolder) -> tuple[str, NDArray[np.uint8]]:
    """Return a description of the pictures to read, and the pictures ``(N, 28, 28)``."""
    if (Path(os.environ.get("DIGITS_DATA_DIR", "data")) / "MNIST" / "raw").is_dir():
        from benchmarks.data import load_held_out  # needs torch, as no other part of this benchmark does

        return "held-out digits", load_held_out().images.numpy()
    return "golden digits", np.stack([golden.image for golden in model.manifest.golden] * 50)


def measure_cost(engine: Engine, images: NDArray[np.uint8], batch_size: int) -> float:
    """Return microseconds per picture: the mean over all pictures, then the median over rounds."""
    batches = [images[start : start + batch_size] for start in range(0, len(images) - batch_size + 1, batch_size)]
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for batch in batches:
            engine(batch)
        rounds.append((time.perf_counter() - started) / (len(batches) * batch_size) * 1e6)
    return statistics.median(rounds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__)
    parser.add_argument(
        "models", type=Path, nargs="*", default=[released_model()], help="model folders [the released one]"
    )
    for folder in parser.parse_args().models:
        model = model_folder.load(folder)
        kind, images = load_digits(model)
        print(f"{model.manifest.id}: microseconds per picture on one thread, {len(images):,} {kind}")
        print(f"{'':14}" + "".join(f"batch of {size:<6}" for size in BATCH_SIZES))
        names: list[str | None] = [*model.manifest.networks]
        for network in [*names, None] if model.manifest.has_cascade else names:
            engine = open_engine(model, "onnxruntime", "cpu", 1, network)
            figures = "".join(f"{measure_cost(engine, images, size):<15.1f}" for size in BATCH_SIZES)
            print(f"{network or 'cascade':14}{figures}")


if __name__ == "__main__":
    main()
