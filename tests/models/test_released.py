"""The released model on the MNIST test split: over HTTP and directly, it is as accurate as its model card says."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.model_folder import ModelFolder
from tests.support.pictures import png
from tests.support.running import Server
from training.data.mnist import Digits, load
from training.evaluation.metrics import ENGINES, measure, score_all

CONNECTIONS = 8

pytestmark = pytest.mark.slow  # reads 10,000 digits several times


@pytest.fixture(scope="module")
def test_split(data_dir: Path) -> Digits:
    """MNIST's 10,000 test digits."""
    return load(data_dir, "test")


def read_over_http(server: Server, images: NDArray[np.uint8]) -> list[int]:
    """Post each picture as a PNG in a form, over several connections. Return the digits of the answers."""

    def post(part: NDArray[np.uint8]) -> list[int]:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            answers = (client.post("/predict", files={"file": png(image)}) for image in part)
            return [int(answer.raise_for_status().json()["digit"]) for answer in answers]

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return [digit for digits in pool.map(post, np.array_split(images, CONNECTIONS)) for digit in digits]


def test_the_service_reads_the_test_split_as_the_graph_does(
    released: ModelFolder, server: Server, test_split: Digits
) -> None:
    """Each of the 10,000 test digits gets the same class over HTTP as from the graph. Torch agrees on at least 9,990.
    The accuracy is the one in the model card."""
    images, labels = test_split.images.numpy(), test_split.labels.numpy()
    served = np.array(read_over_http(server, images))
    graph = score_all(open_engine(released, "onnxruntime", "cpu", 2), images).probabilities.argmax(axis=1)
    torch = score_all(open_engine(released, "torch", "cpu", 2), images).probabilities.argmax(axis=1)
    np.testing.assert_array_equal(served, graph)
    assert (served == torch).sum() >= 9_990
    card = (released.folder / "MODEL_CARD.md").read_text()
    row = re.search(r"^\| accuracy \| ([\d.]+) ?% \((\d+) misread\)", card, re.MULTILINE)
    assert row
    assert int(row[2]) == (served != labels).sum()
    assert float(row[1]) == pytest.approx(100 * (served == labels).mean(), abs=0.005)
    assert (served == labels).mean() >= 0.996


def test_the_released_figures_can_be_reproduced(released: ModelFolder, test_split: Digits) -> None:
    """In both engines, accuracy and calibration are what the manifest says."""
    for name in ENGINES:
        scores = score_all(open_engine(released, name, "cpu", 2), test_split.images.numpy())
        thresholds = released.manifest.thresholds(name, None)
        measured = measure(scores.probabilities, test_split.labels.numpy(), scores.typicality, thresholds)
        recorded = released.manifest.metrics["test"][name]
        assert abs(measured["errors"] - recorded["errors"]) <= 1  # another CPU may round one close case differently
        for figure in ("nll", "brier", "ece", "accepted"):
            assert measured[figure] == pytest.approx(recorded[figure], abs=2e-3)
        assert measured["ece"] < 0.005


def test_the_baseline_is_as_accurate_as_in_the_tutorials(released: ModelFolder, test_split: Digits) -> None:
    """The textbook model in models/ reads at least 97.8 % correctly, as the tutorials' network does."""
    textbook = model_folder.load(released.folder.parent / "textbook-1.0.0")
    scores = score_all(open_engine(textbook, "onnxruntime", "cpu", 2), test_split.images.numpy())
    assert (scores.probabilities.argmax(axis=1) == test_split.labels.numpy()).mean() >= 0.978


def test_the_released_figures_are_in_the_test_log(released: ModelFolder) -> None:
    """Each use of the test split is a line of docs/test-log.csv."""
    log = (Path(__file__).parents[2] / "docs" / "test-log.csv").read_text().splitlines()
    for name in ENGINES:
        recorded = released.manifest.metrics["test"][name]
        assert any(
            f",{released.manifest.id}," in line
            and f",{name}," in line
            and line.endswith(f",{recorded['accuracy']:.4f}")
            for line in log
        )
