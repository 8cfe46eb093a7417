"""What each way of making a served network smaller or faster gives: folding, quantising, pruning.

Each form of one network is written as a graph and measured on held-out digits: how many it misreads, the size of its
file, and microseconds of one thread a picture. Pruning sets the smallest weights of all convolutions to 0, as Han et
al. 2015, "Learning both Weights and Connections for Efficient Neural Networks", without training further. Regularised
training (L1, L2) is a matter of the recipe: ``study.py`` has it.
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
from training.export.onnx_graph import quantise, run_graph, write_graph

ROUNDS = 9
PRUNED = (0.3, 0.5, 0.7)  # shares of the weights


@dataclass(frozen=True)
class Form:
    """One form of a network, measured."""

    name: str
    errors: int
    bytes: int
    one: float  # microseconds for one picture
    many: float  # microseconds a picture, 64 at a time


def pruned(network: Network, share: float) -> Network:
    """A copy without the smallest weights of its convolutions, compared across all of them."""
    smaller = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # torch.nn.utils.prune asks for it
    weights = [(module, "weight") for module in smaller.modules() if isinstance(module, nn.Conv2d)]
    prune.global_unstructured(weights, pruning_method=prune.L1Unstructured, amount=share)
    for module, name in weights:
        prune.remove(module, name)
    return smaller


def cost(path: Path, images: torch.Tensor) -> float:
    """Microseconds of one thread a picture of this batch: the median of several runs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    batch = {"images": images.numpy()}
    session.run(None, batch)
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(20):
            session.run(None, batch)
        rounds.append((time.perf_counter() - started) / 20 / len(images) * 1e6)
    return statistics.median(rounds)


def forms(network: Network, training: Digits, held_out: Digits) -> Iterator[Form]:
    """Make and measure each form, the plainest first."""
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "network.onnx"

        def measured(name: str) -> Form:
            read = run_graph(path, held_out.images.numpy()).probabilities.argmax(axis=1)
            return Form(
                name=name,
                errors=int((read != held_out.labels.numpy()).sum()),
                bytes=path.stat().st_size,
                one=cost(path, held_out.images[:1]),
                many=cost(path, held_out.images[:64]),
            )

        write_graph(network, path, fold=False)
        yield measured("as trained")
        write_graph(network, path)
        yield measured("batch-norm folded")
        quantise(path, training, held_out, least=0)
        yield measured("and int8: what ships")
        for share in PRUNED:
            write_graph(pruned(network, share), path)
            yield measured(f"{share:.0%} of the weights pruned")
            quantise(path, training, held_out, least=0)
            yield measured(f"{share:.0%} of the weights pruned, int8")
