"""What ONNX Runtime's options are worth: each changed alone, from what ``app/engine.py`` sets.

Told are the time for a picture in batches of 16, by the clock and by the processor (a thread that spins costs without
helping), and the time to load the graph. Rounds of all variants take turns, and the median of each is told, for the
machine's speed changes while they run.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from app import bundle

BATCH = 16
PER_ROUND = 60  # batches
SPINNING = "session.intra_op.allow_spinning"

Options = Any  # onnxruntime.SessionOptions, which has no types


def as_shipped(options: Options) -> None:
    """As ``OnnxRuntimeEngine`` has it."""
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry(SPINNING, "0")


def two_threads(options: Options) -> None:
    options.intra_op_num_threads = 2


def two_that_spin(options: Options) -> None:
    options.intra_op_num_threads = 2
    options.add_session_config_entry(SPINNING, "1")


def no_arena(options: Options) -> None:
    options.enable_cpu_mem_arena = False


def no_memory_pattern(options: Options) -> None:
    options.enable_mem_pattern = False


def basic_optimisation(options: Options) -> None:
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC


def no_optimisation(options: Options) -> None:
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


VARIANTS: dict[str, Callable[[Options], None]] = {
    "as shipped": lambda options: None,
    "two threads": two_threads,
    "two threads that spin": two_that_spin,
    "no arena": no_arena,
    "no memory pattern": no_memory_pattern,
    "basic optimisation alone": basic_optimisation,
    "no optimisation": no_optimisation,
}


def session(graph: bytes | str, change: Callable[[Options], None], save_to: Path | None = None) -> tuple[Any, float]:
    """Load a graph; milliseconds that it took."""
    options = onnxruntime.SessionOptions()
    as_shipped(options)
    change(options)
    if save_to:
        options.optimized_model_filepath = str(save_to)
    options.log_severity_level = 3
    started = time.perf_counter()
    loaded = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return loaded, (time.perf_counter() - started) * 1e3


def measure(loaded: Any, images: NDArray[np.uint8]) -> tuple[float, float]:
    """Microseconds a picture, by the clock and by the processor."""
    loaded.run(None, {"images": images})
    started, computed = time.perf_counter(), time.process_time()
    for _ in range(PER_ROUND):
        loaded.run(None, {"images": images})
    count = PER_ROUND * len(images) / 1e6
    return (time.perf_counter() - started) / count, (time.process_time() - computed) / count


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.options", description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=bundle.released(), help="model folder")
    parser.add_argument("--rounds", type=int, default=15, help="[%(default)s]")
    arguments = parser.parse_args()
    model = bundle.load(arguments.model)
    graph = model.contents[next(iter(model.manifest.networks.values())).graph]
    golden = [golden.image for golden in model.manifest.golden]
    images = np.stack((golden * BATCH)[:BATCH])
    sessions = {name: session(graph, change) for name, change in VARIANTS.items()}
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "optimised.onnx"
        session(graph, lambda options: None, save_to=saved)
        sessions["graph saved as optimised"] = session(str(saved), no_optimisation)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sessions}
    for _ in range(arguments.rounds):
        for name, (loaded, _) in sessions.items():
            times[name].append(measure(loaded, images))
    print(f"{model.manifest.id}: microseconds a picture in batches of {BATCH}, milliseconds to load")
    print(f"{'':28}{'clock':>8}{'processor':>11}{'load':>8}")
    for name, rounds in times.items():
        clock, processor = (statistics.median(values) for values in zip(*rounds, strict=True))
        print(f"{name:28}{clock:8.1f}{processor:11.1f}{sessions[name][1]:8.1f}")


if __name__ == "__main__":
    main()
