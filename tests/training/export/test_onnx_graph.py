"""The graph: it is the network, int8 is nearly it, and a departure is found."""

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from app.inference.networks import DigitNet, build
from tests.support.small import SMALL
from training.data.mnist import Digits
from training.export.onnx_graph import (
    ExportError,
    check_agreement,
    fold_batch_norm,
    quantise,
    run_graph,
    set_temperature,
    write_graph,
)
from training.trainer import Run, fit


def test_a_graph_of_other_weights_is_found_out(run: Run, small_parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    """The check of agreement fails when the graph is not the network's."""
    write_graph(run.network, tmp_path / "g.onnx")
    check_agreement(run.network, tmp_path / "g.onnx", small_parts[1].images)
    other = copy.deepcopy(run.network)
    with torch.no_grad():
        other.head.bias[0] += 0.5
    with pytest.raises(ExportError, match="differ by"):
        check_agreement(other, tmp_path / "g.onnx", small_parts[1].images)


def test_folding_batch_norm_changes_nothing_but_the_count_of_layers() -> None:
    """The folded network gives the same features, and has no batch-norm left."""
    torch.manual_seed(0)
    network = build("DigitNet", {"stem": 4, "stages": [[8, 2, 1]]})
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.weight, 0.5, 2)
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    network.eval()
    folded = fold_batch_norm(copy.deepcopy(network)).eval()
    assert isinstance(folded, DigitNet)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in folded.modules())
    images = torch.randint(0, 256, (4, 28, 28), dtype=torch.uint8)
    torch.testing.assert_close(folded.logits(images), network.logits(images), atol=1e-4, rtol=1e-4)


def test_int8_reads_as_fp32_does_and_is_smaller(small_parts: tuple[Digits, Digits], tmp_path: Path) -> None:
    """Quantised, the graph of a network that is sure is int8, and gives every held-out digit the same class."""
    network = fit(SMALL, *small_parts).network
    graph = tmp_path / "g.onnx"
    write_graph(network, graph)
    before, size = run_graph(graph, small_parts[1].images.numpy()), graph.stat().st_size
    quantise(graph, small_parts[0], small_parts[1])
    after = run_graph(graph, small_parts[1].images.numpy())
    assert (before.probabilities.argmax(1) == after.probabilities.argmax(1)).mean() >= 0.9995
    assert 1e-6 < np.abs(before.probabilities - after.probabilities).max() < 0.3
    assert graph.stat().st_size < size


def test_of_a_committee_no_member_s_first_convolution_is_int8(
    small_parts: tuple[Digits, Digits], tmp_path: Path
) -> None:
    """What reads the picture itself stays in fp32 in each of them, and the rest does not."""
    config = {"stem": 4, "stages": [[8, 2, 1]]}
    network = build("Committee", {"members": [config, {**config, "stem_stride": 1}]}).eval()
    graph = tmp_path / "g.onnx"
    write_graph(network, graph)
    quantise(graph, *small_parts, least=0)
    nodes = onnx.load(graph).graph.node
    made_by = {output: node for node in nodes for output in node.output}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    int8 = [made_by[node.input[0]].op_type == "DequantizeLinear" for node in convolutions]
    assert (len(int8), int8.count(False)) == (8, 2)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_a_graph_s_temperature_can_be_set(
    run: Run, small_parts: tuple[Digits, Digits], tmp_path: Path, temperature: float
) -> None:
    """Whatever the network's own temperature, also 1, the graph has one that can be replaced, and acts on it."""
    network = copy.deepcopy(run.network)
    images = small_parts[1].images
    network.temperature.fill_(1.0)
    write_graph(network, tmp_path / "g.onnx")
    set_temperature(tmp_path / "g.onnx", temperature)
    network.temperature.fill_(temperature)
    check_agreement(network, tmp_path / "g.onnx", images)
