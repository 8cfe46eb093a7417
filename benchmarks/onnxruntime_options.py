"""Measure ONNX Runtime's session options: each changed alone, compared with ``app/inference/engines.py``.

Prints the time per picture in batches of 16, as wall-clock time and as CPU time (a spinning thread costs CPU without
helping), and the time to load the graph. All variants take turns and each figure is the median over rounds, because
the machine's speed changes while they run.
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

from app.inference import model_folder
from app.settings import released_model

BATCH_SIZE = 16
BATCHES_PER_ROUND = 60
SPINNING = "session.intra_op.allow_spinning"

Options = Any  # onnxruntime.SessionOptions, which has no types


def set_shipped_options(options: Options) -> None:
    """Set what ``OnnxRuntimeEngine`` sets."""
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry(SPINNING, "0")


def use_two_threads(options: Options) -> None:
    options.intra_op_num_threads = 2


def use_two_spinning_threads(options: Options) -> None:
    options.intra_op_num_threads = 2
    options.add_session_config_entry(SPINNING, "1")


def disable_arena(options: Options) -> None:
    options.enable_cpu_mem_arena = False


def disable_memory_pattern(options: Options) -> None:
    options.enable_mem_pattern = False


def use_basic_optimisation(options: Options) -> None:
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC


def disable_optimisation(options: Options) -> None:
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


VARIANTS: dict[str, Callable[[Options], None]] = {
    "as shipped": lambda options: None,
    "two threads": use_two_threads,
    "two spinning threads": use_two_spinning_threads,
    "no arena": disable_arena,
    "no memory pattern": disable_memory_pattern,
    "basic optimisation only": use_basic_optimisation,
    "no optimisation": disable_optimisation,
}


def open_session(
    graph: bytes | str, change: Callable[[Options], None], save_to: Path | None = None
) -> tuple[Any, float]:
    """Load a graph. Return the session and the milliseconds that loading took."""
    options = onnxruntime.SessionOptions()
    set_shipped_options(options)
    change(options)
    if save_to:
        options.optimized_model_filepath = str(save_to)
    options.log_severity_level = 3
    started = time.perf_counter()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return session, (time.perf_counter() - started) * 1e3


def measure(session: Any, images: NDArray[np.uint8]) -> tuple[float, float]:
    """Return microseconds per picture, as wall-clock time and as CPU time."""
    session.run(None, {"images": images})
    started, cpu_started = time.perf_counter(), time.process_time()
    for _ in range(BATCHES_PER_ROUND):
        session.run(None, {"images": images})
    count = BATCHES_PER_ROUND * len(images) / 1e6
    return (time.perf_counter() - started) / count, (time.process_time() - cpu_started) / count


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.onnxruntime_options", description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=released_model(), help="model folder [the released one]")
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each variant [%(default)s]")
    arguments = parser.parse_args()
    model = model_folder.load(arguments.model)
    graph = model.contents[next(iter(model.manifest.networks.values())).graph]
    golden = [golden.image for golden in model.manifest.golden]
    images = np.stack((golden * BATCH_SIZE)[:BATCH_SIZE])
    sessions = {name: open_session(graph, change) for name, change in VARIANTS.items()}
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "optimised.onnx"
        open_session(graph, lambda options: None, save_to=saved)
        sessions["loaded already optimised"] = open_session(str(saved), disable_optimisation)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sessions}
    for _ in range(arguments.rounds):
        for name, (session, _) in sessions.items():
            times[name].append(measure(session, images))
    print(f"{model.manifest.id}: microseconds per picture in batches of {BATCH_SIZE}; milliseconds to load")
    print(f"{'':28}{'clock':>8}{'CPU':>11}{'load':>8}")
    for name, rounds in times.items():
        clock, cpu = (statistics.median(values) for values in zip(*rounds, strict=True))
        print(f"{name:28}{clock:8.1f}{cpu:11.1f}{sessions[name][1]:8.1f}")


if __name__ == "__main__":
    main()
