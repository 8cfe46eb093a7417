"""A recipe gets the digits to train on and the held-out ones, and no digit is among both."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.small_scans import write_scans
from tests.support.small_training import vary, write_small_mnist
from training.data import mnist, populations, swiss
from training.data.mnist import Digits
from training.data.populations import (
    LABEL_ERRORS,
    HeldOut,
    load_for_recipe,
    load_held_out,
    load_training,
    load_with_held_out,
    read_label_errors,
)
from training.errors import DataError
from training.recipes import FAST, TEXTBOOK, Recipe

RECIPE = vary(hold_out=20, swiss=10)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a hundred digits of a small MNIST, and two Swiss writers with two scans each."""
    write_small_mnist(tmp_path, train=100, test=10)
    write_scans(tmp_path)
    return tmp_path


def pairs(digits: Digits) -> list[tuple[bytes, int]]:
    """Return the pixels and the label of each digit."""
    return [(image.numpy().tobytes(), int(label)) for image, label in zip(digits.images, digits.labels, strict=True)]


def make_digits(*labels: int) -> Digits:
    return Digits(torch.tensor(labels, dtype=torch.uint8).view(-1, 1, 1).expand(-1, 28, 28), torch.tensor(labels))


def test_the_digits_of_all_populations_come_one_after_the_other() -> None:
    """Each digit knows its population."""
    held_out = HeldOut({"mnist": make_digits(0, 1, 2), "swiss": make_digits(7)})
    assert len(held_out) == 4
    assert held_out.digits.labels.tolist() == [0, 1, 2, 7]
    assert held_out.digits.images[:, 0, 0].tolist() == [0, 1, 2, 7]
    assert held_out.population.tolist() == [0, 0, 0, 1]


def test_populations_weigh_the_same_unless_they_are_small() -> None:
    """3,000 digits weigh as much as 500, and 50 digits of one person a tenth of that. All weights add up to 1."""
    held_out = HeldOut(
        {"mnist": make_digits(*[1] * 3_000), "swiss": make_digits(*[2] * 500), "own": make_digits(*[3] * 50)}
    )
    weights = [float(held_out.weights[held_out.population == number].sum()) for number in range(3)]
    np.testing.assert_allclose(weights, [1 / 2.1, 1 / 2.1, 0.1 / 2.1])


@pytest.mark.parametrize("repetitions", [1, 10])
def test_swiss_digits_are_repeated(repetitions: int, data: Path) -> None:
    """Each digit of MNIST is there once, each of a Swiss writer as often as the recipe says."""
    training = load_training(vary(RECIPE, swiss=repetitions), data)
    kept, _ = mnist.hold_out(mnist.load(data, "train"), 20)
    known = pairs(swiss.load(data, swiss.TRAINING_WRITERS))
    assert sorted(pairs(training)) == sorted(pairs(kept) + known * repetitions)


def test_digits_to_train_on_come_in_a_random_order_that_is_always_the_same(data: Path) -> None:
    """Both halves have Swiss digits, because the first digits also set the ranges of int8."""
    training = pairs(load_training(RECIPE, data))
    assert pairs(load_training(RECIPE, data)) == training
    known = set(pairs(swiss.load(data, swiss.TRAINING_WRITERS)))
    assert 3 < sum(pair in known for pair in training[:50]) < 17


def test_no_held_out_digit_is_trained_on(data: Path) -> None:
    """Held out are digits of MNIST, and other Swiss writers if the recipe trains on some."""
    training, held_out = load_with_held_out(RECIPE, data)
    assert {name: len(digits) for name, digits in held_out.by_population.items()} == {"mnist": 20, "swiss": 2}
    assert held_out.by_population["swiss"].labels.tolist() == [2, 5]
    assert not set(pairs(training)) & set(pairs(held_out.digits))
    only_mnist = load_held_out(vary(RECIPE, swiss=0), data)
    assert only_mnist
    assert list(only_mnist.by_population) == ["mnist"]


def test_digits_with_suspect_labels_are_not_trained_on(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the recipe says so, exactly the digits in the list are left out. Held-out digits stay the same."""
    digits = mnist.load(data, "train")
    kept, _ = mnist.split_indices(digits, 20)
    suspect = kept[[4, 30]]
    (data / "errors.csv").write_text("index,label,read,probability\n" + "".join(f"{i},1,7,0.01\n" for i in suspect))
    monkeypatch.setattr(populations, "LABEL_ERRORS", data / "errors.csv")
    careless, careful = vary(RECIPE, swiss=0), vary(RECIPE, swiss=0, drops_label_errors=True)
    with_all, without = (set(pairs(load_training(recipe, data))) for recipe in (careless, careful))
    assert with_all - without == set(pairs(digits.take(suspect)))
    assert without < with_all
    one, other = (load_held_out(recipe, data) for recipe in (careless, careful))
    assert one
    assert other
    assert pairs(one.digits) == pairs(other.digits)


def test_the_listed_label_errors_are_training_digits(data_dir: Path) -> None:
    """Each index is of a digit that recipes train on, never of a held-out one. The label in the list is its label."""
    digits = mnist.load(data_dir, "train")
    kept, _ = mnist.split_indices(digits, FAST.hold_out)
    index = torch.tensor(read_label_errors())
    assert torch.isin(index, kept).all()
    assert index.tolist() == sorted(set(index.tolist()))
    rows = [line.split(",") for line in LABEL_ERRORS.read_text().splitlines()[1:]]
    assert [int(label) for _, label, _, _ in rows] == digits.labels[index].tolist()
    assert all(label != read and float(probability) < 0.02 for _, label, read, probability in rows)


def test_without_scans_the_error_names_a_way_out(tmp_path: Path) -> None:
    """The option --mnist-only trains without them. A recipe of MNIST alone does not need them."""
    write_small_mnist(tmp_path, train=100, test=10)
    with pytest.raises(DataError, match=r"scans\.zip is missing.*--mnist-only"):
        load_for_recipe(RECIPE, tmp_path)
    training, held_out = load_for_recipe(vary(RECIPE, swiss=0), tmp_path)
    assert (len(training), len(held_out or ())) == (80, 20)


@pytest.mark.parametrize("recipe", [TEXTBOOK, vary(RECIPE, hold_out=0)], ids=["textbook", "Swiss"])
def test_a_recipe_without_held_out_digits_is_refused_where_they_are_needed(recipe: Recipe, data: Path) -> None:
    """Such a recipe trains on all digits of MNIST. The error of a command that needs held-out digits names it."""
    training, held_out = load_for_recipe(recipe, data)
    assert (len(training), held_out) == (100 + 2 * recipe.swiss, None)
    with pytest.raises(DataError, match=f"the recipe {recipe.name} holds out none"):
        load_with_held_out(recipe, data)
