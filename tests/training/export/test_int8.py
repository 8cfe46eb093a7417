"""An int8 graph reads nearly as the fp32 graph does."""

from pathlib import Path

import numpy as np
import onnx

from app.inference.networks import build_network
from training.data.mnist import Digits
from training.data.populations import HeldOut
from training.export.int8 import quantize
from training.export.onnx_graph import run_graph, write_graph
from training.runs import Run


def test_int8_reads_as_fp32_does_and_is_smaller(
    early_run: Run, small_parts: tuple[Digits, HeldOut], tmp_path: Path
) -> None:
    """Quantised, a graph is smaller, its scores change a little, and it gives every held-out digit the same class."""
    graph = tmp_path / "g.onnx"
    write_graph(early_run.network, graph)
    before, size = run_graph(graph, small_parts[1].digits.images.numpy()), graph.stat().st_size
    quantize(graph, small_parts[0], small_parts[1].digits)
    after = run_graph(graph, small_parts[1].digits.images.numpy())
    assert (before.probabilities.argmax(1) == after.probabilities.argmax(1)).mean() >= 0.9995
    assert 1e-6 < np.abs(before.probabilities - after.probabilities).max() < 0.3
    assert graph.stat().st_size < size


def test_the_first_convolution_of_each_committee_member_stays_in_fp32(
    small_parts: tuple[Digits, HeldOut], tmp_path: Path
) -> None:
    """Only the convolutions that read the picture itself stay in fp32."""
    config = {"stem": 4, "stages": [[8, 2, 1]]}
    network = build_network("Committee", {"members": [config, {**config, "stem_stride": 1}]}).eval()
    graph = tmp_path / "g.onnx"
    write_graph(network, graph)
    quantize(graph, small_parts[0], small_parts[1].digits, min_agreement=0)
    nodes = onnx.load(graph).graph.node
    made_by = {output: node for node in nodes for output in node.output}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    int8 = [made_by[node.input[0]].op_type == "DequantizeLinear" for node in convolutions]
    assert (len(int8), int8.count(False)) == (8, 2)
