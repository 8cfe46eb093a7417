"""Writes a network as an ONNX graph, runs the graph, and checks that it agrees with the network."""

import copy
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from app.imaging.digit_image import IMAGE_SIZE
from app.inference.model_folder import EngineName
from app.inference.networks import Network
from app.inference.scores import Scores
from training.data.mnist import Digits
from training.errors import ExportError
from training.evaluation.metrics import score_all
from training.trainer import predict

MAX_DIFFERENCE = 1e-4  # between torch and the fp32 graph, in any probability
MIN_AGREEMENT = 0.9995  # share of digits that a rewritten graph must read as the original does
MIN_CONFIDENCE = 0.6  # below it, the original is unsure, and the readings may differ


def write_graph(network: Network, path: Path, fold: bool = True) -> None:
    """Write a network as an ONNX graph for batches of any size.

    Args:
        fold: Fold each batch-norm into the convolution before it.
    """
    network_copy = copy.deepcopy(network)
    network_copy.temperature.fill_(2.0)  # with 1, the exporter would leave out the division
    if fold:
        fold_batch_norm(network_copy)
    with silence_exporter():
        torch.onnx.export(
            network_copy.to(memory_format=torch.contiguous_format).eval(),
            (torch.zeros(2, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8),),
            path,
            input_names=["images"],
            output_names=["probabilities", "typicality"],
            dynamic_shapes={"images": {0: torch.export.Dim("N")}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    set_temperature(path, float(network.temperature))


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """Fold each batch-norm into the convolution before it. This computes the same with one operation less."""
    if isinstance(module, nn.Sequential):
        layers: list[nn.Module] = []
        for layer in module:
            previous = layers[-1] if layers else None
            if isinstance(layer, nn.BatchNorm2d) and isinstance(previous, nn.Conv2d):
                layers[-1] = fuse_conv_bn_eval(previous, layer)
            else:
                layers.append(fold_batch_norm(layer))
        return nn.Sequential(*layers)
    for name, child in module.named_children():
        setattr(module, name, fold_batch_norm(child))
    return module


def set_temperature(graph: Path, temperature: float) -> None:
    """Replace the temperature in a graph."""
    model = onnx.load(graph)
    stored = next(value for value in model.graph.initializer if value.name == "temperature")
    stored.CopyFrom(numpy_helper.from_array(np.array(temperature, np.float32), "temperature"))
    onnx.save(model, graph)


def run_graph(path: Path, images: NDArray[np.uint8]) -> Scores:
    """Run a graph that is not in a model folder yet."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    class GraphEngine:
        name: EngineName = "onnxruntime"
        device = "cpu"

        def __call__(self, images: NDArray[np.uint8]) -> Scores:
            return Scores(*session.run(None, {"images": images}))

    return score_all(GraphEngine(), images)


def check_agreement(network: Network, graph: Path, images: torch.Tensor) -> None:
    """Check that an fp32 graph gives the same scores as its network in torch.

    Raises:
        ExportError: They differ.
    """
    probabilities, typicality = predict(network, images)
    scores = run_graph(graph, images.numpy())
    difference = max(
        np.abs(scores.probabilities - probabilities.numpy()).max(), np.abs(scores.typicality - typicality.numpy()).max()
    )
    if not difference <= MAX_DIFFERENCE:  # also catches NaN
        raise ExportError(
            f"The graph and torch differ by {difference:.2g} on {len(images)} digits. The limit is {MAX_DIFFERENCE}."
        )


def replace_graph(
    graph: Path, write: Callable[[Path], None], name: str, checked_on: Digits, min_agreement: float | None = None
) -> None:
    """Replace a graph by another version of it, if both read nearly all digits alike.

    Args:
        write: Writes the other version to a path.
        name: Name of the other version, for the error message.
        checked_on: Digits to compare on.
        min_agreement: Share of these digits that both must read alike [``MIN_AGREEMENT``]. Digits that the graph reads
            with a confidence below ``MIN_CONFIDENCE`` count as read alike.

    Raises:
        ExportError: They read fewer digits alike. The graph is unchanged.
    """
    images = checked_on.images.numpy()
    before = run_graph(graph, images).probabilities
    undecided = before.max(axis=1) < MIN_CONFIDENCE
    with tempfile.TemporaryDirectory() as work:
        other = Path(work) / graph.name
        write(other)
        same_reading = run_graph(other, images).probabilities.argmax(axis=1) == before.argmax(axis=1)
        agreement = float((same_reading | undecided).mean())
        required = MIN_AGREEMENT if min_agreement is None else min_agreement
        if agreement < required:
            raise ExportError(
                f"The {name} graph reads {agreement:.2%} of {len(images)} digits as before. It must be {required:.2%}."
            )
        graph.write_bytes(other.read_bytes())


def find_first_convolutions(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the convolutions with one input channel, which read the picture itself."""
    shapes = {weight.name: weight.dims for weight in graph.initializer}
    return [node.name for node in graph.node if node.op_type == "Conv" and shapes.get(node.input[1], (0, 0))[1] == 1]


@contextmanager
def silence_exporter() -> Iterator[None]:
    """Hide warnings of the exporter and the quantiser about their own future and about steps that are done here."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
