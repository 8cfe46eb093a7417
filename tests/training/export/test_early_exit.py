"""A committee that stops early: the first members where they are sure, all of them elsewhere, and no more work."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from app.inference.networks import Committee, build
from training.export import early_exit
from training.data.mnist import Digits
from training.export.early_exit import SURE_WHETHER, SURE_WHICH, stop_early
from training.export.onnx_graph import ExportError, quantise, run_graph, write_graph

MEMBERS = [{"stem": 4, "stages": [[width, 2, 1]]} for width in (24, 16, 8)]
FIRST = [2, 1]


@pytest.fixture
def committee() -> Committee:
    """One whose members are strangers to each other, and sure of half of the pictures or so."""
    torch.manual_seed(1)
    network = build("Committee", {"members": MEMBERS}).eval()
    assert isinstance(network, Committee)
    with torch.no_grad():
        network.head.weight.normal_(0, 12)
        network.head.bias[10] = 24
    return network


def of_the_first(committee: Committee, images: torch.Tensor) -> torch.Tensor:
    """The logits of the first members together, by torch."""
    members = committee.apart(MEMBERS)
    with torch.no_grad():
        return torch.stack([members[member].eval().logits(images) for member in FIRST]).mean(dim=0)


def left_open(logits: torch.Tensor) -> torch.Tensor:
    """Which pictures the first members are not sure of, by their logits."""
    typicality = torch.sigmoid(logits[:, :10].logsumexp(dim=1) - logits[:, 10])
    which = logits[:, :10].softmax(dim=1).amax(dim=1) >= SURE_WHICH
    whether = (typicality >= SURE_WHETHER) | (typicality <= 1 - SURE_WHETHER)
    return ~(which & whether)


@pytest.mark.parametrize("int8", [False, True], ids=["fp32", "int8"])
def test_what_the_first_leave_open_is_read_by_all(
    committee: Committee,
    small_parts: tuple[Digits, Digits],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    int8: bool,
) -> None:
    """There the answer is that of the whole committee, elsewhere that of the first members; alone or in company."""
    monkeypatch.setattr("training.export.onnx_graph.SAME_CLASS", 0.0)
    graph, images = tmp_path / "g.onnx", small_parts[1].images
    write_graph(committee, graph)
    if int8:
        quantise(graph, *small_parts, least=0)
    of_all = run_graph(graph, images.numpy())
    stop_early(graph, FIRST, MEMBERS, small_parts[1])
    stopped = run_graph(graph, images.numpy())
    changed = np.abs(stopped.probabilities - of_all.probabilities).max(axis=1) > 1e-3
    logits = of_the_first(committee, images)
    is_open = left_open(logits).numpy()
    assert 0.2 < is_open.mean() < 0.8
    if int8:  # near the bounds it decides otherwise than torch
        assert changed[is_open].mean() < 0.1 < changed[~is_open].mean()
    else:
        assert not changed[is_open].any()
        expected = (logits[:, :10] / committee.temperature).softmax(dim=1).numpy()
        np.testing.assert_allclose(stopped.probabilities[~is_open], expected[~is_open], atol=1e-3)
    alone = np.concatenate([run_graph(graph, image[None]).probabilities for image in images.numpy()[:40]])
    np.testing.assert_allclose(alone, stopped.probabilities[:40], atol=1e-5)


def test_the_others_are_run_only_if_asked(committee: Committee, tmp_path: Path) -> None:
    """Outside of the branch that asks them, the graph has no convolution of theirs."""
    graph = tmp_path / "g.onnx"
    write_graph(committee, graph)
    model = early_exit.rewrite(onnx.load(graph), FIRST, [24, 16, 8])
    outside = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(outside) == 4 * len(FIRST)
    (branch,) = (node for node in model.graph.node if node.op_type == "If")
    asks, stops = (attribute.g for attribute in branch.attribute)
    counts = {sum(node.op_type == "Conv" for node in each.node) for each in (asks, stops)}
    assert counts == {4, 0}


def test_a_committee_that_would_read_otherwise_is_left_as_it_is(
    committee: Committee, small_parts: tuple[Digits, Digits], tmp_path: Path
) -> None:
    """Where the first members are sure of what the others read otherwise, nothing is written."""
    graph = tmp_path / "g.onnx"
    with torch.no_grad():
        committee.head.weight[3, :24] += 100  # whatever it is, the other member calls it a three
    write_graph(committee, graph)
    before = graph.read_bytes()
    with pytest.raises(ExportError, match="stopped early, the graph reads"):
        stop_early(graph, FIRST, MEMBERS, small_parts[1])
    assert graph.read_bytes() == before
