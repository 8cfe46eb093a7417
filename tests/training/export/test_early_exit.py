"""A committee stops early where its first members are sure, and only runs the others elsewhere."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from app.inference.networks import Committee, build_network
from training.data.mnist import Digits
from training.data.populations import HeldOut
from training.errors import ExportError
from training.export.early_exit import SURE_OF_DIGIT, SURE_OF_TYPICALITY, add_early_exit, rewrite_graph
from training.export.int8 import quantize
from training.export.onnx_graph import run_graph, write_graph

MEMBERS = [{"stem": 4, "stages": [[width, 2, 1]]} for width in (24, 16, 8)]
FIRST = [2, 1]


@pytest.fixture
def committee() -> Committee:
    """A committee of unrelated networks, whose first members are sure of about half of the pictures."""
    torch.manual_seed(1)
    network = build_network("Committee", {"members": MEMBERS}).eval()
    assert isinstance(network, Committee)
    with torch.no_grad():
        network.head.weight.normal_(0, 12)
        network.head.bias[10] = 24
    return network


def compute_first_logits(committee: Committee, images: torch.Tensor) -> torch.Tensor:
    """Return the mean logits of the first members, computed by torch."""
    members = committee.split(MEMBERS)
    with torch.no_grad():
        return torch.stack([members[member].eval().logits(images) for member in FIRST]).mean(dim=0)


def find_open(logits: torch.Tensor) -> torch.Tensor:
    """Return which pictures the first members are unsure of, from their logits."""
    typicality = torch.sigmoid(logits[:, :10].logsumexp(dim=1) - logits[:, 10])
    which = logits[:, :10].softmax(dim=1).amax(dim=1) >= SURE_OF_DIGIT
    whether = (typicality >= SURE_OF_TYPICALITY) | (typicality <= 1 - SURE_OF_TYPICALITY)
    return ~(which & whether)


@pytest.mark.parametrize("int8", [False, True], ids=["fp32", "int8"])
def test_all_members_read_what_the_first_are_unsure_of(
    committee: Committee,
    small_parts: tuple[Digits, HeldOut],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    int8: bool,
) -> None:
    """There the answer is that of the whole committee, elsewhere that of the first members. Batches change nothing."""
    monkeypatch.setattr("training.export.onnx_graph.MIN_AGREEMENT", 0.0)
    graph, images = tmp_path / "g.onnx", small_parts[1].digits.images
    write_graph(committee, graph)
    if int8:
        quantize(graph, small_parts[0], small_parts[1].digits, min_agreement=0)
    by_all = run_graph(graph, images.numpy())
    add_early_exit(graph, FIRST, MEMBERS, small_parts[1].digits)
    with_exit = run_graph(graph, images.numpy())
    changed = np.abs(with_exit.probabilities - by_all.probabilities).max(axis=1) > 1e-3
    logits = compute_first_logits(committee, images)
    is_open = find_open(logits).numpy()
    assert 0.2 < is_open.mean() < 0.8
    if int8:  # near the limits, int8 decides differently from torch
        assert changed[is_open].mean() < 0.1 < changed[~is_open].mean()
    else:
        assert not changed[is_open].any()
        expected = (logits[:, :10] / committee.temperature).softmax(dim=1).numpy()
        np.testing.assert_allclose(with_exit.probabilities[~is_open], expected[~is_open], atol=1e-3)
    alone = np.concatenate([run_graph(graph, image[None]).probabilities for image in images.numpy()[:40]])
    np.testing.assert_allclose(alone, with_exit.probabilities[:40], atol=1e-5)


def test_the_others_only_run_if_needed(committee: Committee, tmp_path: Path) -> None:
    """Outside the branch that runs them, the graph has none of their convolutions."""
    graph = tmp_path / "g.onnx"
    write_graph(committee, graph)
    model = rewrite_graph(onnx.load(graph), FIRST, [24, 16, 8])
    outside = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(outside) == 4 * len(FIRST)
    (branch,) = (node for node in model.graph.node if node.op_type == "If")
    run_others, stop = (attribute.g for attribute in branch.attribute)
    counts = {sum(node.op_type == "Conv" for node in each.node) for each in (run_others, stop)}
    assert counts == {4, 0}


def test_a_committee_that_would_read_differently_is_left_unchanged(
    committee: Committee, small_parts: tuple[Digits, HeldOut], tmp_path: Path
) -> None:
    """If the first members are sure of what the others read differently, nothing is written."""
    graph = tmp_path / "g.onnx"
    with torch.no_grad():
        committee.head.weight[3, :24] += 100  # the other member reads every picture as a three
    write_graph(committee, graph)
    before = graph.read_bytes()
    with pytest.raises(ExportError, match="early-exit graph reads"):
        add_early_exit(graph, FIRST, MEMBERS, small_parts[1].digits)
    assert graph.read_bytes() == before
