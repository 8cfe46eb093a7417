"""Statistics of the input: against values by hand, and the same for a batch as for single pictures."""

import numpy as np
import pytest

from app.imaging.ink import ink_ratio
from app.inference.engines import Engine
from app.inference.model_folder import ModelFolder
from app.observability.input_statistics import BOUNDS, compute_statistics, count_in_buckets, make_reference
from tests.support.pictures import Grey

Digits = list[tuple[int, Grey]]


def test_ink_is_the_share_of_a_white_picture_s_brightness(seven: Grey) -> None:
    """A black picture has 0 and a white one 1. A level of 51 on half of it has 0.1, a digit the mean by NumPy."""
    half = np.zeros((28, 28), np.uint8)
    assert ink_ratio(half) == 0
    assert ink_ratio(255 - half) == 1
    half[:14] = 51
    assert ink_ratio(half) == pytest.approx(0.1)
    assert ink_ratio(seven) == pytest.approx(float(seven.mean()) / 255)
    assert ink_ratio(np.asfortranarray(seven)) == ink_ratio(seven)  # whatever its memory layout


def test_the_statistics_of_a_batch_are_those_of_its_pictures(engine: Engine, digits: Digits) -> None:
    """Confidence, typicality and ink ratio of each picture, in order."""
    images = np.stack([image for _, image in digits])
    scores = engine(images)
    statistics = compute_statistics(scores, images)
    for index, image in enumerate(images):
        assert statistics.ink_ratio[index] == pytest.approx(ink_ratio(image))
        assert statistics.confidence[index] == pytest.approx(float(max(scores.probabilities[index])), abs=1e-6)
        assert statistics.typicality[index] == pytest.approx(float(scores.typicality[index]))


def test_a_bound_is_in_the_bucket_below_it() -> None:
    """Prometheus's label ``le`` means less or equal. Values above all bounds are counted, too."""
    assert count_in_buckets(np.array([0.0, 0.5, 0.5, 0.6, 1.0, 7.0]), np.array([0.5, 1.0])) == [3, 2, 1]


def test_the_reference_of_the_released_model_uses_these_buckets_well(released: ModelFolder) -> None:
    """It counts the held-out digits of all populations, and no bucket of a signal has more than two thirds of them."""
    reference = released.manifest.reference
    assert reference
    populations = released.manifest.metrics["held_out"].values()
    assert reference.digits == sum(results["onnxruntime"]["digits"] for results in populations)
    assert {name: buckets.bounds for name, buckets in reference.signals.items()} == BOUNDS
    for buckets in reference.signals.values():
        assert max(buckets.counts) < reference.digits * 2 / 3


def test_a_reference_counts_each_digit_once(engine: Engine, digits: Digits) -> None:
    """The twenty golden digits are two of each class."""
    images = np.stack([image for _, image in digits])
    reference = make_reference(engine(images), images)
    assert (reference.digits, reference.read) == (20, (2,) * 10)
    assert all(sum(buckets.counts) == 20 for buckets in reference.signals.values())
