"""Out-of-distribution pictures are in the MNIST convention, repeatable, and of different kinds."""

import numpy as np
import pytest

from training.data.out_of_distribution import OUT_OF_DISTRIBUTION, count_by_letter, make_noise, make_textures
from training.errors import DataError


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if "letters" in name else ())  # normalises a thousand pictures
        for name in OUT_OF_DISTRIBUTION
    ],
)
def test_each_set_has_pictures_in_the_convention(name: str) -> None:
    """uint8 (N, 28, 28), hundreds of pictures."""
    try:
        pictures = OUT_OF_DISTRIBUTION[name]()
    except DataError as error:  # the fonts or Fashion-MNIST are not installed
        pytest.skip(str(error))
    assert pictures.dtype == np.uint8
    assert pictures.shape[1:] == (28, 28)
    assert len(pictures) >= 500


@pytest.mark.parametrize("name", [name for name in OUT_OF_DISTRIBUTION if "letters" not in name])
def test_a_set_is_the_same_each_time(name: str) -> None:
    """Those that are drawn at random, too. Letters are not."""
    try:
        np.testing.assert_array_equal(OUT_OF_DISTRIBUTION[name](), OUT_OF_DISTRIBUTION[name]())
    except DataError as error:
        pytest.skip(str(error))


def test_the_sets_are_not_alike() -> None:
    """Neighbouring pixels of noise are independent; those of textures are not."""

    def correlate_neighbours(pictures: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> float:
        flat = pictures[:100].astype(float)
        return float(np.corrcoef(flat[:, :, 1:].ravel(), flat[:, :, :-1].ravel())[0, 1])

    assert correlate_neighbours(make_noise()) < 0.2 < 0.6 < correlate_neighbours(make_textures())


def test_letters_that_are_accepted_most_come_first() -> None:
    """Each with the digit that it is taken for. Letters that are always refused are left out."""
    accepted_as = np.array([-1, 3, 3, -1, -1, -1, 4, 4, 9])  # three pictures of each letter
    assert count_by_letter(accepted_as, "ABC") == [("A", 3, 2 / 3), ("C", 4, 2 / 3), ("C", 9, 1 / 3)]
