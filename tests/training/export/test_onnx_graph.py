"""The graph computes what the network computes, and a difference is detected."""

import copy
from pathlib import Path

import pytest
import torch

from app.inference.networks import DigitNet, build_network
from training.data.mnist import Digits
from training.data.populations import HeldOut
from training.errors import ExportError
from training.export.onnx_graph import (
    check_agreement,
    fold_batch_norm,
    replace_graph,
    run_graph,
    set_temperature,
    write_graph,
)
from training.runs import Run


def test_a_graph_of_other_weights_is_detected(
    early_run: Run, small_parts: tuple[Digits, HeldOut], tmp_path: Path
) -> None:
    """The check fails if the graph belongs to another network."""
    write_graph(early_run.network, tmp_path / "g.onnx")
    check_agreement(early_run.network, tmp_path / "g.onnx", small_parts[1].digits.images)
    other = copy.deepcopy(early_run.network)
    with torch.no_grad():
        other.head.bias[0] += 0.5
    with pytest.raises(ExportError, match="differ by"):
        check_agreement(other, tmp_path / "g.onnx", small_parts[1].digits.images)


@pytest.mark.parametrize(("temperature", "is_replaced"), [(0.1, False), (1e6, True)])
def test_a_graph_is_replaced_unless_a_sure_reading_changes(
    temperature: float, is_replaced: bool, early_run: Run, small_parts: tuple[Digits, HeldOut], tmp_path: Path
) -> None:
    """Another graph that reads each digit differently is refused, but not if the first graph was sure of none."""
    graph, network = tmp_path / "g.onnx", copy.deepcopy(early_run.network)
    network.temperature.fill_(temperature)
    write_graph(network, graph)
    before = run_graph(graph, small_parts[1].digits.images.numpy()).probabilities
    with torch.no_grad():
        network.head.weight[:10] = network.head.weight[:10].roll(1, dims=0)
        network.head.bias[:10] = network.head.bias[:10].roll(1)

    def replace() -> None:
        replace_graph(graph, lambda path: write_graph(network, path), "other", small_parts[1].digits)

    if is_replaced:
        replace()
    else:
        with pytest.raises(ExportError, match="The other graph reads"):
            replace()
    after = run_graph(graph, small_parts[1].digits.images.numpy()).probabilities
    assert (after.argmax(1) == before.argmax(1)).all() != is_replaced


def test_folding_batch_norm_only_changes_the_number_of_layers() -> None:
    """The folded network gives the same logits, and has no batch-norm left."""
    torch.manual_seed(0)
    network = build_network("DigitNet", {"stem": 4, "stages": [[8, 2, 1]]})
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


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_a_graph_s_temperature_can_be_set(
    early_run: Run, small_parts: tuple[Digits, HeldOut], tmp_path: Path, temperature: float
) -> None:
    """For every temperature of the network, also 1, the graph has one that can be replaced and takes effect."""
    network = copy.deepcopy(early_run.network)
    images = small_parts[1].digits.images
    network.temperature.fill_(1.0)
    write_graph(network, tmp_path / "g.onnx")
    set_temperature(tmp_path / "g.onnx", temperature)
    network.temperature.fill_(temperature)
    check_agreement(network, tmp_path / "g.onnx", images)
