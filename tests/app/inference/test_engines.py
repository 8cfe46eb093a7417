"""Engines: both read the same, the right one is selected, and broken models are refused."""

import dataclasses
import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.errors import EngineUnavailableError, ModelFolderError
from app.imaging.digit_image import Images
from app.inference import engine_selection, model_folder, torch_engine
from app.inference.cascade import CascadeEngine
from app.inference.engine_selection import open_engine
from app.inference.engines import Engine, OnnxRuntimeEngine
from app.inference.golden_digits import read_golden_digits
from app.inference.model_folder import EngineName, GoldenDigit, ModelFolder, Thresholds
from app.inference.scores import Scores
from app.inference.torch_engine import TorchEngine

Digits = list[tuple[int, NDArray[np.uint8]]]


# The released model in either engine. Importing torch takes seconds.
ENGINES = ["onnxruntime", pytest.param("torch", marks=pytest.mark.slow)]


def require(engine: str) -> None:
    """Skip a test that needs an engine that is not installed."""
    if engine == "torch":
        pytest.importorskip("torch")


def replace_file(released: ModelFolder, tmp_path: Path, name: str, content: bytes) -> ModelFolder:
    """Return a copy of the released model in which one file is replaced. Its manifest has the new SHA-256."""
    folder = Path(shutil.copytree(released.folder, tmp_path / "model"))
    (folder / name).write_bytes(content)
    files = {**released.manifest.files, name: hashlib.sha256(content).hexdigest()}
    model_folder.write_manifest(folder, released.manifest.model_copy(update={"files": files}))
    return model_folder.load(folder)


def test_scores_have_the_documented_shapes_and_ranges(engine: Engine, digits: Digits) -> None:
    """N pictures give probabilities (N, 10) that sum to 1, and typicality (N,) in [0, 1]."""
    for count in (1, 3, 20):
        scores = engine(np.stack([image for _, image in digits[:count]]))
        assert scores.probabilities.shape == (count, 10)
        assert scores.probabilities.dtype == np.float32
        np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1, atol=1e-5)
        assert scores.typicality.shape == (count,)
        assert ((scores.typicality >= 0) & (scores.typicality <= 1)).all()


@pytest.mark.slow
def test_both_engines_read_the_golden_digits_correctly(released: ModelFolder, digits: Digits) -> None:
    """ONNX Runtime and torch agree on real digits, with nearly the same confidence."""
    require("torch")
    images = np.stack([image for _, image in digits])
    labels = [digit for digit, _ in digits]
    graph = open_engine(released, "onnxruntime", "cpu", 1)(images)
    torch = open_engine(released, "torch", "cpu", 1)(images)
    assert graph.probabilities.argmax(axis=1).tolist() == labels
    assert torch.probabilities.argmax(axis=1).tolist() == labels
    np.testing.assert_allclose(graph.probabilities, torch.probabilities, atol=0.02)


def test_a_digit_is_read_the_same_alone_and_in_a_batch(engine: Engine, digits: Digits) -> None:
    """An answer does not depend on the other pictures in its batch."""
    images = np.stack([image for _, image in digits])
    together = engine(images).probabilities
    alone = np.concatenate([engine(image[None]).probabilities for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("name", ENGINES)
def test_pictures_may_be_read_only(name: EngineName, released: ModelFolder, digits: Digits) -> None:
    """Pictures that share memory with a request's body are read-only. Both engines accept them."""
    require(name)
    images = np.stack([image for _, image in digits])
    images.setflags(write=False)
    engine = open_engine(released, name, "cpu", 1)
    assert engine(images).probabilities.argmax(axis=1).tolist() == [digit for digit, _ in digits]


def test_auto_selects_onnx_runtime_without_a_cuda_driver(
    released: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without NVIDIA's driver, torch is not imported."""
    monkeypatch.setattr(torch_engine, "has_torch", lambda: True)
    monkeypatch.setattr(torch_engine, "has_cuda_driver", lambda: False)
    monkeypatch.setattr(torch_engine, "cuda_device_count", lambda: pytest.fail("torch was imported to count devices"))
    assert isinstance(open_engine(released, "auto", "auto", 1, "fast"), OnnxRuntimeEngine)


def test_auto_selects_torch_if_cuda_is_available(released: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a driver and a device, auto selects torch on CUDA. Torch and the device are faked."""
    opened = []

    def open_fake(model: ModelFolder, network: str, device: str, threads: int) -> SimpleNamespace:
        opened.append((network, device))
        return SimpleNamespace(name="torch", device=device)

    monkeypatch.setattr(torch_engine, "has_torch", lambda: True)
    monkeypatch.setattr(torch_engine, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(torch_engine, "cuda_device_count", lambda: 1)
    monkeypatch.setattr(engine_selection, "TorchEngine", open_fake)
    open_engine(released, "auto", "auto", 1)
    open_engine(released, "auto", "cuda:0", 1)
    open_engine(released, "torch", "auto", 1)
    assert opened == [(name, device) for device in ("cuda", "cuda:0", "cuda") for name in ("fast", "careful")]


@pytest.mark.slow
def test_cpu_is_used_although_cuda_is_available(released: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """DIGITS_DEVICE=cpu wins over a CUDA device, with either engine."""
    require("torch")
    monkeypatch.setattr(torch_engine, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(torch_engine, "cuda_device_count", lambda: 1)
    assert isinstance(open_engine(released, "auto", "cpu", 1, "fast"), OnnxRuntimeEngine)
    assert isinstance(open_engine(released, "torch", "cpu", 1, "fast"), TorchEngine)


@pytest.mark.parametrize("name", ["auto", "torch"])
def test_a_missing_cuda_device_is_refused(
    name: Literal["auto", "torch"], released: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If CUDA is requested by name, the engine never falls back to the CPU."""
    monkeypatch.setattr(torch_engine, "has_torch", lambda: True)
    monkeypatch.setattr(torch_engine, "cuda_device_count", lambda: 1)
    with pytest.raises(EngineUnavailableError, match="torch sees 1 CUDA devices"):
        open_engine(released, name, "cuda:1", 1)


def test_cuda_for_onnx_runtime_is_refused(released: ModelFolder) -> None:
    """The message says which engine to use instead."""
    with pytest.raises(EngineUnavailableError, match="set DIGITS_ENGINE to torch"):
        open_engine(released, "onnxruntime", "cuda", 1)


def test_a_missing_torch_is_refused(released: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install. (.ci/run checks this in an environment without torch, too.)"""
    monkeypatch.setattr(torch_engine, "has_torch", lambda: False)
    with pytest.raises(EngineUnavailableError, match="pip install"):
        open_engine(released, "torch", "auto", 1)
    with pytest.raises(EngineUnavailableError, match="pip install"):
        open_engine(released, "auto", "cuda", 1)


def test_a_file_that_is_not_a_graph_is_refused(released: ModelFolder, tmp_path: Path) -> None:
    """The error names a file that matches its SHA-256 but is not a graph."""
    broken = replace_file(released, tmp_path, "fast.onnx", b"not a graph")
    with pytest.raises(ModelFolderError, match=r"fast\.onnx: ONNX Runtime cannot load this graph"):
        open_engine(broken, "onnxruntime", "cpu", 1)


def test_a_graph_of_another_network_is_refused(released: ModelFolder, tmp_path: Path) -> None:
    """A valid graph with other inputs and outputs is not a digit network."""
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3])
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph([helper.make_node("Relu", ["images"], ["result"])], "g", [value], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    other = replace_file(released, tmp_path, "fast.onnx", model.SerializeToString())
    with pytest.raises(ModelFolderError, match="inputs and outputs"):
        open_engine(other, "onnxruntime", "cpu", 1)


@pytest.mark.slow
def test_weights_of_another_shape_are_refused(released: ModelFolder) -> None:
    """A checkpoint must fit the architecture that the manifest names. The error is one line."""
    require("torch")
    networks = released.manifest.networks
    entry = networks["fast"].model_copy(update={"config": {"stem": 8, "stages": [[16, 2, 0]]}})
    manifest = released.manifest.model_copy(update={"networks": {**networks, "fast": entry}})
    with pytest.raises(ModelFolderError, match="the weights do not fit this DigitNet") as caught:
        open_engine(dataclasses.replace(released, manifest=manifest), "torch", "cpu", 1)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_checkpoint_that_is_a_pickle_is_refused(released: ModelFolder, tmp_path: Path) -> None:
    """A torch.save file in place of the safetensors file is not unpickled."""
    require("torch")
    import io

    import torch

    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, buffer)
    pickled = replace_file(released, tmp_path, "fast.safetensors", buffer.getvalue())
    with pytest.raises(ModelFolderError, match="the weights do not fit"):
        open_engine(pickled, "torch", "cpu", 1)


@pytest.mark.parametrize("name", ENGINES)
def test_a_model_that_misreads_a_golden_digit_does_not_start(name: EngineName, released: ModelFolder) -> None:
    """The test with golden digits fails in either engine if the model does not do what its manifest says."""
    require(name)
    engine = open_engine(released, name, "cpu", 1)
    read_golden_digits(engine, released)
    first, *rest = released.manifest.golden
    wrong = GoldenDigit.model_construct(digit=(first.digit + 1) % 10, pixels=first.pixels)
    manifest = released.manifest.model_copy(update={"golden": [wrong, *rest]})
    with pytest.raises(ModelFolderError, match=f"reads a golden {wrong.digit} as {first.digit}"):
        read_golden_digits(engine, dataclasses.replace(released, manifest=manifest))


class FixedEngine:
    """An engine that always answers the same digit, with the first pixel as confidence. It counts its pictures."""

    name: EngineName = "onnxruntime"
    device = "cpu"

    def __init__(self, digit: int) -> None:
        self.digit, self.count = digit, 0

    def __call__(self, images: Images) -> Scores:
        self.count += len(images)
        probabilities = np.zeros((len(images), 10), np.float32)
        probabilities[:, self.digit] = images[:, 0, 0] / 255
        return Scores(probabilities, (images[:, 0, 1] / 255).astype(np.float32))


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=1, max_size=20))
def test_the_careful_network_reads_only_pictures_below_the_gate(pixels: list[tuple[int, int]]) -> None:
    """Each answer comes from the right network and is in the right place, whichever score is below the gate."""
    images = np.zeros((len(pixels), 28, 28), np.uint8)
    images[:, 0, :2] = pixels
    fast, careful = FixedEngine(1), FixedEngine(2)
    scores = CascadeEngine(fast, careful, Thresholds(confidence=0.6, typicality=0.4))(images)
    unsure = [
        confidence / 255 < np.float32(0.6) or typicality / 255 < np.float32(0.4) for confidence, typicality in pixels
    ]
    assert (fast.count, careful.count) == (len(pixels), sum(unsure))
    for row, is_unsure, (confidence, _) in zip(scores.probabilities, unsure, pixels, strict=True):
        assert row[2 if is_unsure else 1] == pytest.approx(confidence / 255)


def test_one_network_of_a_cascade_can_read_alone(released: ModelFolder) -> None:
    """fast and careful can be selected by name. Other names are refused."""
    for name in released.manifest.networks:
        assert isinstance(open_engine(released, "onnxruntime", "cpu", 1, name), OnnxRuntimeEngine)
    with pytest.raises(ModelFolderError, match="only fast, careful"):
        open_engine(released, "onnxruntime", "cpu", 1, "slow")
