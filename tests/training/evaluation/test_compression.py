"""Each compressed version of a network is measured as its own file."""

import pytest
import torch
from torch import nn

from training.data.mnist import Digits
from training.data.populations import HeldOut
from training.evaluation.compression import measure_compression, prune_network
from training.runs import Run
from training.trainer import predict


def test_pruning_removes_the_smallest_weights(early_run: Run) -> None:
    """Half of all convolution weights become 0, none of them larger than any other. The original is unchanged."""
    network = early_run.network
    before = torch.cat([m.weight.flatten() for m in network.modules() if isinstance(m, nn.Conv2d)]).abs()
    pruned = prune_network(network, 0.5)
    after = torch.cat([m.weight.flatten() for m in pruned.modules() if isinstance(m, nn.Conv2d)]).abs()
    assert (after == 0).float().mean() == pytest.approx(0.5, abs=0.01)
    assert before[after == 0].max() <= after[after > 0].min()
    assert (before > 0).float().mean() > 0.99


@pytest.mark.long
@pytest.mark.slow
def test_each_version_is_measured(
    early_run: Run, small_parts: tuple[Digits, HeldOut], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folding changes no reading, int8 makes the file smaller, and every version has its row."""
    monkeypatch.setattr("training.evaluation.compression.ROUNDS", 1)
    monkeypatch.setattr("training.evaluation.compression.PRUNED_SHARES", (0.5,))
    training, held_out = small_parts[0], small_parts[1].digits
    rows = list(measure_compression(early_run.network, training, held_out))
    assert len(rows) == 3 + 2
    probabilities, _ = predict(early_run.network, held_out.images)
    misread = int((probabilities.argmax(1) != held_out.labels).sum())
    assert rows[0].errors == rows[1].errors == misread
    assert rows[2].bytes < rows[1].bytes
    assert all(row.single_us > 0 and row.batched_us > 0 and row.bytes > 0 for row in rows)
