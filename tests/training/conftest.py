"""Fixtures for the tests of training. They need torch; ``tests/conftest.py`` has those that do not."""

from pathlib import Path

import pytest
import torch

from app.inference.model_folder import ModelFolder
from app.inference.networks import Network, build_network
from tests.support.small_training import SMALL, load_early_run, make_similar_run, make_small_parts, write_small_mnist
from training.data.mnist import Digits
from training.data.populations import HeldOut
from training.export.model_writer import export_cascade, export_run
from training.runs import Run


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Use one thread in torch: the networks here are tiny, and other tests run at the same time."""
    torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small MNIST, to run commands in."""
    write_small_mnist(tmp_path / "data", train=1000, test=100)
    return tmp_path


@pytest.fixture(scope="session")
def small_parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Digits, HeldOut]:
    """800 digits to train on and 200 held-out ones, made of twenty."""
    return make_small_parts(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def early_run() -> Run:
    """The run of a small network that stopped early: it misreads some of the held-out digits."""
    return load_early_run()


@pytest.fixture(scope="session")
def small_model(
    early_run: Run, small_parts: tuple[Digits, HeldOut], tmp_path_factory: pytest.TempPathFactory
) -> ModelFolder:
    """That network in a model folder."""
    return export_run(early_run, *small_parts, tmp_path_factory.mktemp("models") / "small-1.2.3", "1.2.3")


@pytest.fixture(scope="session")
def small_cascade(
    early_run: Run, small_parts: tuple[Digits, HeldOut], tmp_path_factory: pytest.TempPathFactory
) -> ModelFolder:
    """A cascade: that network as the fast one, and a committee of it (seed 0) and a similar one (seed 1)."""
    careful = [early_run, make_similar_run(early_run, 1)]
    return export_cascade(early_run, careful, *small_parts, tmp_path_factory.mktemp("models") / "pair-1.0.0", "1.0.0")


@pytest.fixture(scope="session")
def threes() -> Network:
    """A network that always says 3. Tests must not change it."""
    network = build_network(SMALL.architecture, SMALL.config)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()
        network.head.bias[3] = 40
    return network
