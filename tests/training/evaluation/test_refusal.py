"""How a model refuses pictures that are not digits is measured against sets whose result is known.

The released model reads its golden digits: no claim depends on how a network comes out of training on this CPU.
"""

import numpy as np
import pytest
import torch

from app.inference.model_folder import ModelFolder
from tests.support.pictures import Grey
from training.data.mnist import Digits
from training.evaluation.refusal import SCORES, measure_refusal


@pytest.fixture
def golden(digits: list[tuple[int, Grey]]) -> Digits:
    """The twenty golden digits of the released model, which it reads surely."""
    return Digits(
        torch.from_numpy(np.stack([image for _, image in digits])), torch.tensor([digit for digit, _ in digits])
    )


def test_a_perfect_score_has_an_auroc_of_one(released: ModelFolder, golden: Digits) -> None:
    """Digits look like themselves, and are accepted. Blank pictures score below every digit, and are refused."""
    sets = {"digits": golden.images.numpy(), "blanks": np.full((50, 28, 28), 40, np.uint8)}
    result = measure_refusal(released, golden, sets)
    for score in SCORES:
        assert result["digits"]["auroc"][score] == pytest.approx(0.5, abs=0.01), score
    assert result["digits"]["accepted"] >= 0.98
    assert (result["digits"]["accepted_as"] == golden.labels.numpy()).mean() >= 0.98
    assert result["blanks"]["accepted"] == 0
    assert set(result["blanks"]["accepted_as"]) == {-1}
    assert result["blanks"]["auroc"]["typicality"] == 1
    assert result["blanks"]["false_accepts"]["typicality"] == 0


def test_pictures_that_look_like_digits_are_false_accepts(released: ModelFolder, golden: Digits) -> None:
    """Of a set with as many digits as blanks, half is accepted, and half has a lower score than the digits."""
    half = np.concatenate([golden.images.numpy(), np.full((20, 28, 28), 40, np.uint8)])
    result = measure_refusal(released, golden, {"half": half})["half"]
    assert result["accepted"] == pytest.approx(0.5, abs=0.01)
    assert result["auroc"]["typicality"] == pytest.approx(0.75, abs=0.01)
    assert result["false_accepts"]["typicality"] == pytest.approx(0.5, abs=0.05)
