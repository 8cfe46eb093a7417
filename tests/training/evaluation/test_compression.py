"""Smaller and faster forms of a network: each is measured as the file that it is."""

import pytest
import torch
from torch import nn

from training.data.mnist import Digits
from training.evaluation.compression import PRUNED, forms, pruned
from training.trainer import Run, predict


def test_pruning_takes_the_smallest_weights(run: Run) -> None:
    """Half of all convolution weights are 0, none of them larger than any that is left; the original is as it was."""
    before = torch.cat([m.weight.flatten() for m in run.network.modules() if isinstance(m, nn.Conv2d)]).abs()
    smaller = pruned(run.network, 0.5)
    after = torch.cat([m.weight.flatten() for m in smaller.modules() if isinstance(m, nn.Conv2d)]).abs()
    assert (after == 0).float().mean() == pytest.approx(0.5, abs=0.01)
    assert before[after == 0].max() <= after[after > 0].min()
    assert (before > 0).float().mean() > 0.99


def test_each_form_is_measured(run: Run, small_parts: tuple[Digits, Digits]) -> None:
    """Folding changes no reading; int8 makes the file smaller; every form has its row."""
    training, held_out = small_parts
    rows = list(forms(run.network, training, held_out))
    assert len(rows) == 3 + 2 * len(PRUNED)
    probabilities, _ = predict(run.network, held_out.images)
    misread = int((probabilities.argmax(1) != held_out.labels).sum())
    assert rows[0].errors == rows[1].errors == misread
    assert rows[2].bytes < rows[1].bytes
    assert all(row.one > 0 and row.many > 0 and row.bytes > 0 for row in rows)
