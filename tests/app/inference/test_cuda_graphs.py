"""The torch engine on a CUDA device, where there is one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from app.inference.engine_selection import open_engine, select_engine
from app.inference.model_folder import ModelFolder
from app.inference.torch_engine import TorchEngine

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def golden_images(model: ModelFolder, count: int) -> np.ndarray:
    """Return ``count`` real digits, repeated if there are fewer."""
    images = np.stack([golden.image for golden in model.manifest.golden])
    return np.resize(images, (count, 28, 28))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 31, 64, 65, 1_000])
@pytest.mark.parametrize("network", ["fast", "careful", None])
def test_a_batch_of_any_size_gets_the_scores_of_the_cpu(released: ModelFolder, network: str | None, count: int) -> None:
    """Recorded, padded and larger batches give what torch gives on the CPU, also if read-only."""
    images = golden_images(released, count)
    images.setflags(write=False)
    found = open_engine(released, "torch", "cuda", network=network)(images)
    expected = open_engine(released, "torch", "cpu", network=network)(images)
    assert found.probabilities.shape == (count, 10)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=5e-3)
    np.testing.assert_allclose(found.typicality, expected.typicality, atol=5e-3)


def test_auto_selects_the_device() -> None:
    """Nothing is faked here."""
    assert select_engine("auto", "auto") == ("torch", "cuda")


def test_calls_may_overlap(released: ModelFolder) -> None:
    """Eight threads that read different digits at the same time get the scores of their own digits."""
    engine = TorchEngine(released, "fast", "cuda")
    images = golden_images(released, 10)
    alone = [engine(images[index : index + 1]).probabilities for index in range(10)]

    def read(index: int) -> bool:
        scores = engine(images[index % 10 : index % 10 + 1]).probabilities
        return bool(np.allclose(scores, alone[index % 10], atol=1e-5))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(2_000)))


def test_a_model_loads_while_another_reads(released: ModelFolder) -> None:
    """Recording does not disturb the engine that serves, nor the other way round: that is a hot reload."""
    engine = TorchEngine(released, "fast", "cuda")
    images = golden_images(released, 10)
    expected = engine(images).probabilities
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(TorchEngine, released, "careful", "cuda")
        while not loading.done():
            np.testing.assert_allclose(engine(images).probabilities, expected, atol=1e-5)
    assert loading.result()(images).probabilities.shape == (10, 10)
