"""Quantises an ONNX graph to int8."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from training.data.mnist import Digits
from training.export.onnx_graph import find_first_convolutions, replace_graph, silence_exporter

RANGE_DIGITS = 2_000  # training digits that the ranges of activations are measured on


def quantize(graph: Path, training: Digits, checked_on: Digits, min_agreement: float | None = None) -> None:
    """Replace a graph by its int8 version: static, activations u8, weights s8 per channel.

    Convolutions of the picture itself stay in fp32, in each member of a committee. With one input channel they take
    longer in int8, and the readings differ more. ``reduce_range`` keeps weights to 7 bits: so the 16-bit sums of x86
    without VNNI cannot saturate, and every CPU gives the same answer.

    Args:
        training: Digits that the ranges of activations are measured on.
        checked_on: Digits that both versions must read alike.
        min_agreement: Share of ``checked_on`` that both versions must read alike [``MIN_AGREEMENT``].

    Raises:
        ExportError: They read fewer digits alike. The graph is unchanged.
    """

    def write_int8(path: Path) -> None:
        quantize_static(
            graph,
            path,
            DigitBatches(training.images[:RANGE_DIGITS].numpy()),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Add", "Relu"],
            nodes_to_exclude=find_first_convolutions(onnx.load(graph).graph),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )

    with silence_exporter():
        replace_graph(graph, write_int8, "int8", checked_on, min_agreement)


class DigitBatches(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime ships no types
    """Feeds digits to ONNX Runtime's quantiser."""

    def __init__(self, images: NDArray[np.uint8], batch: int = 100) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = iter(np.split(images, range(batch, len(images), batch)))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next batch, or None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch}
