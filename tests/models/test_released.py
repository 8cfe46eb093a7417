"""The released model, whole and over HTTP: as accurate as its card says, and the graph and nothing but the graph."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from app.inference.model_folder import ModelFolder
from app.inference.engines import open_engine
from tests.support.pictures import png
from tests.support.running import Server
from training.data.mnist import Digits, load
from training.evaluation.metrics import ENGINES, measure, score_all

AT_ONCE = 8


@pytest.fixture(scope="module")
def test_split(data_dir: Path) -> Digits:
    return load(data_dir, "test")


def read_over_http(server: Server, images: NDArray[np.uint8]) -> list[int]:
    """Post each picture as a PNG in a form, some of them at a time, and give the digits that come back."""

    def post(some: NDArray[np.uint8]) -> list[int]:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            answers = (client.post("/predict", files={"file": png(image)}) for image in some)
            return [int(answer.raise_for_status().json()["digit"]) for answer in answers]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [digit for digits in pool.map(post, np.array_split(images, AT_ONCE)) for digit in digits]


def test_the_service_reads_the_test_split_as_the_graph_does(
    released: ModelFolder, server: Server, test_split: Digits
) -> None:
    """All 10,000 test digits, over HTTP: each gets the class that the graph gives directly; torch gives the same to
    9,990 of them; and the accuracy is the one in the model card."""
    images, labels = test_split.images.numpy(), test_split.labels.numpy()
    served = np.array(read_over_http(server, images))
    graph = score_all(open_engine(released, "onnxruntime", "cpu", 2), images).probabilities.argmax(axis=1)
    torch = score_all(open_engine(released, "torch", "cpu", 2), images).probabilities.argmax(axis=1)
    np.testing.assert_array_equal(served, graph)
    assert (served == torch).sum() >= 9_990
    card = (released.folder / "MODEL_CARD.md").read_text()
    told = re.search(r"^\| accuracy \| ([\d.]+) ?% \((\d+) misread\)", card, re.MULTILINE)
    assert told
    assert int(told[2]) == (served != labels).sum()
    assert float(told[1]) == pytest.approx(100 * (served == labels).mean(), abs=0.005)
    assert (served == labels).mean() >= 0.996


def test_the_released_figures_are_those_of_the_files(released: ModelFolder, test_split: Digits) -> None:
    """Measured again from the artefact: accuracy and calibration, by either engine, are what its manifest says."""
    for name in ENGINES:
        scores = score_all(open_engine(released, name, "cpu", 2), test_split.images.numpy())
        thresholds = released.manifest.thresholds(name, None)
        again = measure(scores.probabilities, test_split.labels.numpy(), scores.typicality, thresholds)
        told = released.manifest.metrics["test"][name]
        assert abs(again["errors"] - told["errors"]) <= 1  # another CPU may round one close call the other way
        for figure in ("nll", "brier", "ece", "accepted"):
            assert again[figure] == pytest.approx(told[figure], abs=2e-3)
        assert again["ece"] < 0.005


def test_the_textbook_baseline_is_the_textbook_s(data_dir: Path, released: ModelFolder, test_split: Digits) -> None:
    """The baseline that ships beside it reads 97.8 % or better, as the tutorials' network does."""
    from app.inference import model_folder

    textbook = model_folder.load(released.folder.parent / "textbook-1.0.0")
    scores = score_all(open_engine(textbook, "onnxruntime", "cpu", 2), test_split.images.numpy())
    assert (scores.probabilities.argmax(axis=1) == test_split.labels.numpy()).mean() >= 0.978


def test_every_reading_of_the_test_split_is_logged(released: ModelFolder) -> None:
    """The released figures are lines of docs/test-log.csv."""
    log = (Path(__file__).parents[2] / "docs" / "test-log.csv").read_text().splitlines()
    for name in ENGINES:
        told = released.manifest.metrics["test"][name]
        assert any(
            f",{released.manifest.id}," in line and f",{name}," in line and line.endswith(f",{told['accuracy']:.4f}")
            for line in log
        )
