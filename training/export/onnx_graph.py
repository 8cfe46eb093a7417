"""A network as an ONNX graph: written, quantised, run, and held against what it was made from."""

import copy
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from app.inference.scores import Scores
from app.inference.networks import Network
from training.data.mnist import Digits
from training.evaluation.metrics import score_all
from training.trainer import predict

AGREEMENT = 1e-4  # between torch and the fp32 graph, in any probability
SAME_CLASS = 0.9995  # share of digits that another form of a graph must read as it does


class ExportError(Exception):
    """An artefact does not do what the one it was made from does. Nothing was written."""


def write_graph(network: Network, path: Path, fold: bool = True) -> None:
    """Write the network as an ONNX graph over batches of any size, its batch-norms folded away."""
    written = copy.deepcopy(network)
    written.temperature.fill_(2.0)  # any but 1, at which the exporter would leave the division out
    if fold:
        fold_batch_norm(written)
    with quiet():
        torch.onnx.export(
            written.to(memory_format=torch.contiguous_format).eval(),
            (torch.zeros(2, 28, 28, dtype=torch.uint8),),
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
    """Fold each batch-norm into the convolution before it: the same function, one operation less."""
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
    model = onnx.load(graph)
    stored = next(value for value in model.graph.initializer if value.name == "temperature")
    stored.CopyFrom(numpy_helper.from_array(np.array(temperature, np.float32), "temperature"))
    onnx.save(model, graph)


def run_graph(path: Path, images: NDArray[np.uint8]) -> Scores:
    """Run a graph that is not in a model folder yet."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    class Graph:
        name: Literal["onnxruntime"] = "onnxruntime"
        device = "cpu"

        def __call__(self, images: NDArray[np.uint8]) -> Scores:
            return Scores(*session.run(None, {"images": images}))

    return score_all(Graph(), images)


def check_agreement(network: Network, graph: Path, images: torch.Tensor) -> None:
    """Hold the fp32 graph against torch."""
    probabilities, typicality = predict(network, images)
    scores = run_graph(graph, images.numpy())
    apart = max(
        np.abs(scores.probabilities - probabilities.numpy()).max(), np.abs(scores.typicality - typicality.numpy()).max()
    )
    if not apart <= AGREEMENT:
        raise ExportError(f"the graph and torch differ by {apart:.2g} on {len(images)} digits; {AGREEMENT} is allowed")


def quantise(graph: Path, training: Digits, checked_on: Digits, least: float | None = None) -> None:
    """Replace a graph by its int8 form: static, activations u8, weights s8 per channel, ranges from training digits.

    A convolution of the picture itself stays in fp32, be it a committee's first or another member's: with one input
    channel it takes longer in int8, and the readings depart further.
    ``reduce_range`` keeps weights to 7 bits, so that the 16-bit sums of x86 without VNNI cannot saturate and every CPU
    gives the same answer.

    Args:
        least: share of ``checked_on`` that it must read as the fp32 graph does [``SAME_CLASS``].

    Raises:
        ExportError: it reads fewer so; the graph is as it was.
    """

    def in_int8(quantised: Path) -> None:
        quantize_static(
            graph,
            quantised,
            Batches(training.images[:2_000].numpy()),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Add", "Relu"],
            nodes_to_exclude=stems(onnx.load(graph).graph),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )

    with quiet():
        replace_graph(graph, in_int8, "the int8 graph", checked_on, least)


def replace_graph(
    graph: Path, write: Callable[[Path], None], what: str, checked_on: Digits, least: float | None = None
) -> None:
    """Replace a graph by another form of it, if that reads nearly as it does.

    Args:
        write: writes the other form to a path.
        what: the name of that form.
        least: share of ``checked_on`` that it must read as before [``SAME_CLASS``].

    Raises:
        ExportError: it reads fewer so; the graph is as it was.
    """
    images = checked_on.images.numpy()
    before = run_graph(graph, images).probabilities.argmax(axis=1)
    with tempfile.TemporaryDirectory() as work:
        other = Path(work) / graph.name
        write(other)
        same = float((run_graph(other, images).probabilities.argmax(axis=1) == before).mean())
        if same < (least := SAME_CLASS if least is None else least):
            raise ExportError(f"{what} reads {same:.2%} of {len(images)} digits as before; {least:.2%} is asked")
        graph.write_bytes(other.read_bytes())


def stems(graph: onnx.GraphProto) -> list[str]:
    """Name the convolutions of one input channel, which are in fp32."""
    shapes = {weight.name: weight.dims for weight in graph.initializer}
    return [node.name for node in graph.node if node.op_type == "Conv" and shapes.get(node.input[1], (0, 0))[1] == 1]


class Batches(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime ships no types
    """Training digits, as ONNX Runtime's quantiser asks for them."""

    def __init__(self, images: NDArray[np.uint8], batch: int = 100) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = iter(np.split(images, range(batch, len(images), batch)))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep to themselves what exporter and quantiser have to say of their own future and of steps that we took."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
