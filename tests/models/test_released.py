"""The released model on held-out digits: over HTTP and directly, it reads them as its manifest says.

No test reads the labels of MNIST's test split. Its figures are only compared with the log of its readings.
"""

import csv
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
from tests.support.running import ROOT, Server
from training.data import swiss
from training.data.mnist import Digits, hold_out, load
from training.errors import DataError
from training.evaluation.metrics import ENGINES, measure, score_all

CONNECTIONS = 8
SERVED = 3_000  # digits that are read over HTTP


@pytest.fixture(scope="module")
def held_out(data_dir: Path, released: ModelFolder) -> Digits:
    """MNIST's digits that the released model was not trained on."""
    return hold_out(load(data_dir, "train"), released.manifest.training["data"]["held_out"]["mnist"])[1]


@pytest.fixture(scope="module")
def textbook(released: ModelFolder) -> ModelFolder:
    """The baseline, the network of the tutorials."""
    return model_folder.load(released.folder.parent / "textbook-1.0.0")


def read_over_http(server: Server, images: NDArray[np.uint8]) -> list[int]:
    """Post each picture as a PNG in a form, over several connections. Return the digits of the answers."""

    def post(part: NDArray[np.uint8]) -> list[int]:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            answers = (client.post("/predict", files={"file": png(image)}) for image in part)
            return [int(answer.raise_for_status().json()["digit"]) for answer in answers]

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return [digit for digits in pool.map(post, np.array_split(images, CONNECTIONS)) for digit in digits]


@pytest.mark.slow
def test_the_service_reads_held_out_digits_as_the_graph_does(
    released: ModelFolder, server: Server, held_out: Digits
) -> None:
    """Each of 3,000 digits gets the same class over HTTP as from the graph. Torch agrees on at least 2,997."""
    images = held_out.images[:SERVED].numpy()
    served = np.array(read_over_http(server, images))
    graph = score_all(open_engine(released, "onnxruntime", "cpu", 2), images).probabilities.argmax(axis=1)
    torch = score_all(open_engine(released, "torch", "cpu", 2), images).probabilities.argmax(axis=1)
    np.testing.assert_array_equal(served, graph)
    assert (served == torch).sum() >= 2_997


def check_figures(model: ModelFolder, digits: Digits, population: str) -> None:
    """Measure a model again on a population, and compare accuracy and calibration with the manifest."""
    for name in ENGINES:
        scores = score_all(open_engine(model, name, "cpu", 2), digits.images.numpy())
        thresholds = model.manifest.thresholds(name, None)
        measured = measure(scores.probabilities, digits.labels.numpy(), scores.typicality, thresholds)
        recorded = model.manifest.metrics["held_out"][population][name]
        assert measured["digits"] == recorded["digits"]
        assert abs(measured["errors"] - recorded["errors"]) <= 1  # another CPU may round one close case differently
        for figure in ("nll", "brier", "ece", "accepted"):
            assert measured[figure] == pytest.approx(recorded[figure], abs=2e-3)


@pytest.mark.slow
def test_the_released_figures_can_be_reproduced(released: ModelFolder, held_out: Digits) -> None:
    """In both engines, accuracy and calibration on MNIST are what the manifest says, and good."""
    check_figures(released, held_out, "mnist")
    for name in ENGINES:
        recorded = released.manifest.metrics["held_out"]["mnist"][name]
        assert recorded["accuracy"] >= 0.996
        assert recorded["ece"] < 0.005


@pytest.mark.slow
def test_the_figures_on_swiss_writers_can_be_reproduced(released: ModelFolder, data_dir: Path) -> None:
    """In both engines, accuracy and calibration on the writers that are held out are what the manifest says."""
    try:
        digits = swiss.load(data_dir, swiss.HELD_OUT_WRITERS)
    except DataError as error:  # the scans are not installed
        pytest.skip(str(error))
    check_figures(released, digits, "swiss")


def test_the_model_card_has_the_released_figures(released: ModelFolder) -> None:
    """The accuracy on MNIST's held-out digits, as shipped, is the first of its row in the card."""
    shipped = released.manifest.metrics["held_out"]["mnist"]["onnxruntime"]
    row = f"| accuracy | {shipped['accuracy']:.2%} ({shipped['errors']} misread) |"
    assert row in (released.folder / "MODEL_CARD.md").read_text()


def test_the_baseline_is_as_accurate_as_in_the_tutorials(textbook: ModelFolder) -> None:
    """The textbook model in models/ read at least 97.8 % correctly, as the tutorials' network does."""
    for name in ENGINES:
        assert textbook.manifest.metrics["test"][name]["accuracy"] >= 0.978


def test_the_figures_on_the_test_split_are_in_the_log(released: ModelFolder, textbook: ModelFolder) -> None:
    """The reading that gave them is a row of docs/test-log.csv."""
    with (ROOT / "docs" / "test-log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for model in (released, textbook):
        shipped, other = (model.manifest.metrics["test"][name] for name in ("onnxruntime", "torch"))
        expected = {
            "model": model.manifest.id,
            "digits": str(shipped["digits"]),
            "errors": str(shipped["errors"]),
            "torch_errors": str(other["errors"]),
            "accuracy": f"{shipped['accuracy']:.4f}",
        }
        assert expected in [{key: row[key] for key in expected} for row in rows]
