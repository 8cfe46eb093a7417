"""Strangers: pictures in the MNIST convention that are no digits, and how a model does on them."""

import numpy as np
import pytest

from app.inference.model_folder import ModelFolder
from training.data.mnist import Digits
from training.data.out_of_distribution import STRANGERS, noise, refused, textures


@pytest.mark.parametrize("name", STRANGERS)
def test_each_set_is_of_pictures_in_the_convention(name: str) -> None:
    """uint8 (N, 28, 28), hundreds of them, the same each time."""
    pictures = STRANGERS[name]()
    assert pictures.dtype == np.uint8
    assert pictures.shape[1:] == (28, 28)
    assert len(pictures) >= 500
    np.testing.assert_array_equal(pictures, STRANGERS[name]())


def test_a_perfect_score_has_an_auroc_of_one(small_model: ModelFolder, small_parts: tuple[Digits, Digits]) -> None:
    """Digits held against themselves cannot be told apart; blanks are all refused."""
    _, held_out = small_parts
    sets = {"digits": held_out.images.numpy(), "blanks": np.full((50, 28, 28), 40, np.uint8)}
    result = refused(small_model, held_out, sets)
    for score, auroc in result["digits"]["auroc"].items():
        assert auroc == pytest.approx(0.5, abs=0.01), score
    assert result["digits"]["accepted"] >= 0.98
    assert result["blanks"]["accepted"] == 0


def test_the_sets_are_not_alike() -> None:
    """Noise has no neighbours that agree; textures have."""

    def neighbours(pictures: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
        flat = pictures[:100].astype(float)
        return float(np.corrcoef(flat[:, :, 1:].ravel(), flat[:, :, :-1].ravel())[0, 1])

    assert neighbours(noise()) < 0.2 < 0.6 < neighbours(textures())
