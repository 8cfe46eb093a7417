"""Fixtures that all tests share: real digits, the released model, and a real server on a real socket.

This file must not import torch: the quick tests of the service run on the base install.
"""

import functools
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.imaging.ink import limit_opencv_threads
from app.inference import model_folder
from app.inference.engine_selection import open_engine
from app.inference.engines import Engine
from app.inference.model_folder import ModelFolder
from app.settings import released_model
from tests.support.pictures import EXTRA, png
from tests.support.running import Server, running

# Tests run in parallel. Without these limits each process would use every core, and they would get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
limit_opencv_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that no process still works on one when the others are done."""
    markers = ("container", "fuzz", "training", "slow")
    items.sort(key=lambda item: next((rank for rank, name in enumerate(markers) if item.get_closest_marker(name)), 9))


@pytest.fixture(scope="session", autouse=True)
def shared_tls_context() -> Iterator[None]:
    """Share one TLS context. ``httpx.get`` and the like create one per call, which takes 30 ms, even for plain HTTP."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session")
def released() -> ModelFolder:
    """The model folder that ships."""
    return model_folder.load(released_model())


@pytest.fixture(scope="session")
def engine(released: ModelFolder) -> Engine:
    """The released model in ONNX Runtime."""
    return open_engine(released, "onnxruntime", "cpu", 1)


@pytest.fixture(scope="session")
def digits(released: ModelFolder) -> list[tuple[int, NDArray[np.uint8]]]:
    """Twenty real digits that the model was not trained on, two of each class: (digit, (28, 28))."""
    return [(golden.digit, golden.image) for golden in released.manifest.golden]


@pytest.fixture(scope="session")
def seven(digits: list[tuple[int, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """A real seven, (28, 28)."""
    return next(image for digit, image in digits if digit == 7)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The released model, served with the defaults. Tests that use it must not change its state."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder that contains the whole of MNIST. Without it, the test is skipped."""
    folder = Path(os.environ.get("DIGITS_DATA_DIR", "data"))
    if not (folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte").is_file():
        pytest.skip(f"MNIST is not in {folder}/MNIST/raw (DIGITS_DATA_DIR names the folder)")
    return folder.resolve()


@pytest.fixture
def extra_install() -> None:
    """Skip the test if the extra for HEIC and TIFF is not installed."""
    pytest.importorskip("pillow_heif", reason=EXTRA)


@pytest.fixture
def seven_png(seven: NDArray[np.uint8], tmp_path: Path) -> Path:
    """The seven as a PNG file."""
    file = tmp_path / "seven.png"
    file.write_bytes(png(seven))
    return file
