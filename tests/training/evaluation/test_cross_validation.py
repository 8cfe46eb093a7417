"""Cross-validation trains and measures every fold."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.small_training import vary, write_small_mnist
from training.data.mnist import load
from training.evaluation.cross_validation import cross_validate


@pytest.mark.training
def test_cross_validation_trains_and_measures_each_fold(tmp_path: Path) -> None:
    """Each of K networks is measured on the digits that it was not trained on."""
    write_small_mnist(tmp_path, train=600, test=10)
    seen: list[int] = []
    result = cross_validate(
        vary(epochs=2), load(tmp_path, "train"), 3, 0, torch.device("cpu"), lambda fold, _: seen.append(fold)
    )
    assert seen == [1, 2, 3]
    assert [fold["digits"] for fold in result["results"]] == [200] * 3
    assert result["accuracy_mean"] == pytest.approx(np.mean([fold["accuracy"] for fold in result["results"]]))
    assert result["accuracy_mean"] > 0.5
