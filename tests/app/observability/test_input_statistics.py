"""What is watched of pictures: by hand, and as a batch as alone."""

import numpy as np
import pytest

from app.inference.model_folder import ModelFolder
from app.inference.engines import Engine
from app.observability.input_statistics import BOUNDS, count_in_buckets, ink_ratio, make_reference, compute_statistics
from tests.support.pictures import Grey

Digits = list[tuple[int, Grey]]


def test_ink_is_the_share_of_a_white_picture_s_brightness(seven: Grey) -> None:
    """Nothing is 0, white is 1, half grey on half of it a quarter; and a digit is its mean, as NumPy has it."""
    half = np.zeros((28, 28), np.uint8)
    assert ink_ratio(half) == 0
    assert ink_ratio(255 - half) == 1
    half[:14] = 51
    assert ink_ratio(half) == pytest.approx(0.1)
    assert ink_ratio(seven) == pytest.approx(float(seven.mean()) / 255)
    assert ink_ratio(np.asfortranarray(seven)) == ink_ratio(seven)  # however it lies in memory


def test_a_batch_is_watched_as_its_pictures_alone(engine: Engine, digits: Digits) -> None:
    """Confidence, typicality and ink of each, in order."""
    images = np.stack([image for _, image in digits])
    scores = engine(images)
    seen = compute_statistics(scores, images)
    for index, image in enumerate(images):
        assert seen.ink_ratio[index] == pytest.approx(ink_ratio(image))
        assert seen.confidence[index] == pytest.approx(float(max(scores.probabilities[index])), abs=1e-6)
        assert seen.typicality[index] == pytest.approx(float(scores.typicality[index]))


def test_a_bound_is_in_the_bucket_below_it() -> None:
    """As Prometheus has it: le is less or equal. What is above all bounds is counted, too."""
    assert count_in_buckets(np.array([0.0, 0.5, 0.5, 0.6, 1.0, 7.0]), np.array([0.5, 1.0])) == [3, 2, 1]


def test_the_released_reference_is_in_these_buckets_and_told_apart_by_them(released: ModelFolder) -> None:
    """It is of all held-out digits, and in no signal are more than two thirds of them in one bucket."""
    kept = released.manifest.reference
    assert kept
    assert kept.digits == released.manifest.training["data"]["held_out"]
    assert {name: buckets.bounds for name, buckets in kept.signals.items()} == BOUNDS
    for buckets in kept.signals.values():
        assert max(buckets.counts) < kept.digits * 2 / 3


def test_a_reference_counts_each_digit_once(engine: Engine, digits: Digits) -> None:
    """Twenty digits, two of each class."""
    images = np.stack([image for _, image in digits])
    made = make_reference(engine(images), images)
    assert (made.digits, made.read) == (20, (2,) * 10)
    assert all(sum(buckets.counts) == 20 for buckets in made.signals.values())
