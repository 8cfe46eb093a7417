"""What the tests share: real digits, the released model, and a real server on a real socket."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.settings import released_model
from app.inference import model_folder
from app.inference.model_folder import ModelFolder
from app.inference.engine_selection import open_engine
from app.inference.engines import Engine
from tests.support.pictures import png
from tests.support.running import Server, running
from tests.support.small import EARLY, small_mnist
from training.data.mnist import Digits, hold_out, load
from training.export.model_folder import export
from training.trainer import Run, fit


@pytest.fixture(scope="session")
def released() -> ModelFolder:
    return model_folder.load(released_model())


@pytest.fixture(scope="session")
def engine(released: ModelFolder) -> Engine:
    return open_engine(released, "onnxruntime", "cpu", 1)


@pytest.fixture(scope="session")
def digits(released: ModelFolder) -> list[tuple[int, NDArray[np.uint8]]]:
    """Twenty real digits that the model was not trained on, two of each class: (what it is, (28, 28))."""
    return [(golden.digit, golden.image) for golden in released.manifest.golden]


@pytest.fixture(scope="session")
def seven(digits: list[tuple[int, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    return next(image for digit, image in digits if digit == 7)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The released model, served with the defaults. Tests that share it leave it as it was."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder that has the whole of MNIST; without it, the test is skipped."""
    folder = Path(os.environ.get("DIGITS_DATA_DIR", "data"))
    if not (folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte").is_file():
        pytest.skip(f"MNIST is not in {folder}/MNIST/raw (DIGITS_DATA_DIR names the folder)")
    return folder.resolve()


@pytest.fixture
def seven_png(seven: NDArray[np.uint8], tmp_path: Path) -> Path:
    file = tmp_path / "seven.png"
    file.write_bytes(png(seven))
    return file


@pytest.fixture(scope="session")
def small_parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Digits, Digits]:
    """800 digits to train on and 200 held out, made of twenty."""
    folder = tmp_path_factory.mktemp("data")
    small_mnist(folder, train=1000, test=10)
    return hold_out(load(folder, "train"), 200)


@pytest.fixture(scope="session")
def run(small_parts: tuple[Digits, Digits]) -> Run:
    """A small network, stopped early, so that it still misreads some of the held-out digits."""
    return fit(EARLY, *small_parts, seed=0)


@pytest.fixture(scope="session")
def small_model(run: Run, small_parts: tuple[Digits, Digits], tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """The same as a model folder."""
    return export(run, *small_parts, tmp_path_factory.mktemp("models") / "small-1.2.3", "1.2.3")
