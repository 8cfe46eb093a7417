"""Measures ways to make a network smaller or faster: folding batch-norm, int8, pruning.

Each version of the network is written as a graph and measured on held-out digits: the digits that it misreads, the
size of its file, and the time per picture on one thread. Pruning sets the smallest weights of all convolutions to 0,
as in Han et al. 2015, "Learning both Weights and Connections for Efficient Neural Networks", but without training
further. Regularised training (L1, L2) changes the recipe, so the ablation study measures it (docs/ablation.csv).
"""

import copy
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
import torch
from torch import nn
from torch.nn.utils import prune

from app.inference.networks import Network
from training.data.mnist import Digits
from training.export.int8 import quantize
from training.export.onnx_graph import run_graph, write_graph

ROUNDS = 9
CALLS_PER_ROUND = 20
PRUNED_SHARES = (0.3, 0.5, 0.7)  # of the weights


@dataclass(frozen=True)
class CompressedNetwork:
    """The measurements of one version of a network."""

    name: str
    errors: int
    bytes: int
    single_us: float  # microseconds for one picture
    batched_us: float  # microseconds per picture, in batches of 64


def measure_compression(network: Network, training: Digits, held_out: Digits) -> Iterator[CompressedNetwork]:
    """Write and measure each version of a network, starting with the network as it was trained."""
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "network.onnx"

        def measure_graph(name: str) -> CompressedNetwork:
            read = run_graph(path, held_out.images.numpy()).probabilities.argmax(axis=1)
            return CompressedNetwork(
                name=name,
                errors=int((read != held_out.labels.numpy()).sum()),
                bytes=path.stat().st_size,
                single_us=time_per_picture(path, held_out.images[:1]),
                batched_us=time_per_picture(path, held_out.images[:64]),
            )

        write_graph(network, path, fold=False)
        yield measure_graph("as trained")
        write_graph(network, path)
        yield measure_graph("batch-norm folded")
        quantize(path, training, held_out, min_agreement=0)
        yield measure_graph("folded and int8, as shipped")
        for share in PRUNED_SHARES:
            write_graph(prune_network(network, share), path)
            yield measure_graph(f"{share:.0%} of the weights pruned")
            quantize(path, training, held_out, min_agreement=0)
            yield measure_graph(f"{share:.0%} of the weights pruned, int8")


def prune_network(network: Network, share: float) -> Network:
    """Return a copy in which this share of all convolution weights, the smallest ones, is 0."""
    pruned = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # torch.nn.utils.prune requires it
    weights = [(module, "weight") for module in pruned.modules() if isinstance(module, nn.Conv2d)]
    prune.global_unstructured(weights, pruning_method=prune.L1Unstructured, amount=share)
    for module, name in weights:
        prune.remove(module, name)
    return pruned


def time_per_picture(path: Path, images: torch.Tensor) -> float:
    """Return the median time per picture for this batch on one thread, in microseconds."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    batch = {"images": images.numpy()}
    session.run(None, batch)
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(CALLS_PER_ROUND):
            session.run(None, batch)
        rounds.append((time.perf_counter() - started) / CALLS_PER_ROUND / len(images) * 1e6)
    return statistics.median(rounds)
