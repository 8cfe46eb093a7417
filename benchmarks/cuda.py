"""Measure the torch engine on a CUDA device: batches of 1 to 4,096, single requests, ``/v2`` batches, memory.

    python -m benchmarks.cuda [MODEL] [--device cuda] [--seconds 3]

Each batch is measured in three ways: from pageable memory, from pinned memory, and as a CUDA graph. A figure is the
median over many runs. With --device cpu, the graph is left out.
"""

import argparse
import http.client
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.imaging.digit_image import Images
from app.inference import model_folder
from app.inference.cuda_graphs import RecordedBatches
from app.inference.engine_selection import open_engine
from app.inference.model_folder import ModelFolder
from app.inference.torch_engine import TorchEngine
from app.settings import released_model
from benchmarks.load import binary_tensor_post
from benchmarks.networks import load_digits
from benchmarks.pinned_service import run_bench, run_service

BLOCK_S = 0.2  # how long one size is measured
V2_SIZES = (1, 16, 64, 256, 1024)

Read = Callable[[Images], object]


def measure(read: Read, images: Images, size: int) -> float:
    """Return the median seconds that one batch takes."""
    seconds: list[float] = []
    stop = time.perf_counter() + BLOCK_S
    start = 0
    while len(seconds) < 5 or time.perf_counter() < stop:
        batch = images[start : start + size]
        start = (start + size) % (len(images) - size + 1)
        began = time.perf_counter()
        read(batch)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[len(seconds) // 5 :])  # the first ones warm up


def make_ways(engine: TorchEngine, device: str, sizes: list[int]) -> dict[str, Callable[[Images], Tensor]]:
    """Return the ways to run one network. Each maps pictures to scores ``(N, 11)`` on the CPU."""

    @torch.inference_mode()
    def pageable(images: Images) -> Tensor:
        return engine.compute(torch.from_numpy(images).to(device)).cpu()

    @torch.inference_mode()
    def pinned(images: Images) -> Tensor:
        return engine.compute(torch.from_numpy(images).pin_memory().to(device, non_blocking=True)).cpu()

    if device == "cpu":
        return {"pageable": pageable}
    return {"pageable": pageable, "pinned": pinned, "graph": RecordedBatches(engine.compute, device, sizes)}


def compare_ways(model: ModelFolder, images: Images, device: str, sizes: list[int]) -> None:
    """Print the time of a batch by network, way and size, after a check that all ways agree."""
    print(f"\nmilliseconds per batch\n{'network':10}{'way':10}" + "".join(f"{size:>9,}" for size in sizes))
    for network in model.manifest.networks:
        engine = TorchEngine(model, network, device)
        ways = make_ways(engine, device, sizes)
        reference = ways["pageable"](images[: sizes[-1]])
        for name, read in ways.items():
            torch.testing.assert_close(read(images[: sizes[-1]]), reference, atol=1e-3, rtol=0)
            times = (measure(read, images, size) for size in sizes)
            print(f"{network:10}{name:10}" + "".join(f"{seconds * 1e3:9.3f}" for seconds in times), flush=True)


def compare_engines(model: ModelFolder, images: Images, device: str, sizes: list[int]) -> None:
    """Print digits per second of the engines as the service uses them."""
    print(f"\ndigits per second, the whole model\n{'engine':20}" + "".join(f"{size:>11,}" for size in sizes))
    for engine in (open_engine(model, "torch", device), open_engine(model, "onnxruntime", "cpu")):
        rates = (size / measure(engine, images, size) for size in sizes)
        print(f"{engine.name + ' ' + engine.device:20}" + "".join(f"{rate:>11,.0f}" for rate in rates), flush=True)


def post_for(url: str, path: str, content_type: str, bodies: list[tuple[bytes, dict[str, str]]], seconds: float) -> int:
    """Send requests one after the other on one connection. Return how many were answered."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    answered, stop = 0, time.perf_counter() + seconds
    while time.perf_counter() < stop:
        body, headers = bodies[answered % len(bodies)]
        connection.request("POST", path, body, {"Content-Type": content_type, **headers})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {content[:200]!r}")
        answered += 1
    connection.close()
    return answered


def measure_service(model: ModelFolder, images: NDArray[np.uint8], device: str, seconds: float) -> None:
    """Print what clients of a running service see: latency alone, throughput, and digits per second of ``/v2``."""
    engine = "onnxruntime" if device == "cpu" else "torch"
    flags = ("--engine", engine, "--device", device, "--model", str(model.folder), "--batch-max", "1024")
    with run_service(*flags, core=None) as (url, pid):
        print(f"\nservice with {engine} on {device}")
        for connections in (1, 16, 64):
            result = run_bench(url, "--connections", str(connections), "--seconds", str(seconds))
            latency = result["latency_ms"]
            print(
                f"  /predict, {connections} connections: {result['answered_per_second']:,.0f}/s, "
                f"p50 {latency['p50']:.2f} ms, p99 {latency['p99']:.2f} ms, {len(result['errors'])} kinds of errors",
                flush=True,
            )
        for size in V2_SIZES:
            posts = [
                binary_tensor_post(f"/v2/models/{model.manifest.name}/infer", images[i : i + size])
                for i in range(0, len(images) - size + 1, max(size, 100))
            ]
            bodies = [(post.body, dict(post.headers)) for post in posts]
            count = post_for(url, posts[0].path, posts[0].content_type, bodies, seconds)
            print(f"  /v2, {size:,} digits per request: {count * size / seconds:,.0f} digits/s", flush=True)
        status = Path(f"/proc/{pid}/status").read_text()
        print("  resident memory:", next(line.split(":")[1].strip() for line in status.splitlines() if "VmRSS" in line))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, nargs="?", default=released_model(), help="model folder [the released one]")
    parser.add_argument("--device", default="cuda", help="device of torch [cuda]")
    parser.add_argument("--largest", type=int, default=4_096, help="largest batch [4096]")
    parser.add_argument("--seconds", type=float, default=3, help="length of each load [3]")
    arguments = parser.parse_args()
    model = model_folder.load(arguments.model)
    kind, images = load_digits(model)
    card = torch.cuda.get_device_name() if arguments.device != "cpu" else "CPU"
    print(f"{model.manifest.id} on {card}, torch {torch.__version__}, {len(images):,} {kind}")
    sizes = [4**power for power in range(7) if 4**power <= arguments.largest]
    compare_ways(model, images, arguments.device, sizes)
    compare_engines(model, images, arguments.device, sizes)
    if arguments.device != "cpu":
        print(f"\nGPU memory: {torch.cuda.max_memory_allocated() / 1e6:,.0f} MB at most, in tensors")
    for device in dict.fromkeys(["cpu", arguments.device]):
        measure_service(model, images, device, arguments.seconds)


if __name__ == "__main__":
    main()
