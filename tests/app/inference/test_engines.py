"""Engines: that both read alike, which one is chosen, and what is refused."""

import dataclasses
import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

import app.inference.engines
from app.inference import model_folder
from app.inference.model_folder import ModelFolder, EngineName, GoldenDigit, Thresholds
from app.imaging.digit_image import Images
from app.inference.cascade import CascadeEngine
from app.inference.engine_selection import open_engine
from app.inference.engines import Engine, OnnxRuntimeEngine
from app.inference.golden_digits import read_golden_digits
from app.inference.scores import Scores
from app.inference.torch_engine import TorchEngine
from app.errors import EngineUnavailableError, ModelFolderError

Digits = list[tuple[int, NDArray[np.uint8]]]


def with_file(released: ModelFolder, tmp_path: Path, name: str, content: bytes) -> ModelFolder:
    """The released model with one file replaced, and its manifest telling so."""
    folder = Path(shutil.copytree(released.folder, tmp_path / "model"))
    (folder / name).write_bytes(content)
    files = {**released.manifest.files, name: hashlib.sha256(content).hexdigest()}
    model_folder.write_manifest(folder, released.manifest.model_copy(update={"files": files}))
    return model_folder.load(folder)


def test_scores_have_the_shapes_and_ranges_that_are_promised(engine: Engine, digits: Digits) -> None:
    """N pictures give (N, 10) probabilities that sum to 1, and (N,) in [0, 1]."""
    for count in (1, 3, 20):
        scores = engine(np.stack([image for _, image in digits[:count]]))
        assert scores.probabilities.shape == (count, 10)
        assert scores.probabilities.dtype == np.float32
        np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1, atol=1e-5)
        assert scores.typicality.shape == (count,)
        assert ((scores.typicality >= 0) & (scores.typicality <= 1)).all()


def test_both_engines_read_the_golden_digits_rightly(released: ModelFolder, digits: Digits) -> None:
    """ONNX Runtime on the graph and torch on the checkpoint agree on real digits, near to the same confidence."""
    images = np.stack([image for _, image in digits])
    labels = [digit for digit, _ in digits]
    graph = open_engine(released, "onnxruntime", "cpu", 1)(images)
    torch = open_engine(released, "torch", "cpu", 1)(images)
    assert graph.probabilities.argmax(axis=1).tolist() == labels
    assert torch.probabilities.argmax(axis=1).tolist() == labels
    np.testing.assert_allclose(graph.probabilities, torch.probabilities, atol=0.02)


def test_a_digit_is_read_the_same_alone_and_in_company(engine: Engine, digits: Digits) -> None:
    """An answer does not depend on who shares its batch."""
    images = np.stack([image for _, image in digits])
    together = engine(images).probabilities
    alone = np.concatenate([engine(image[None]).probabilities for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_pictures_may_be_read_only(name: EngineName, released: ModelFolder, digits: Digits) -> None:
    """Tensors that are a part of a request's body cannot be written to, and are read all the same."""
    images = np.stack([image for _, image in digits])
    images.setflags(write=False)
    engine = open_engine(released, name, "cpu", 1)
    assert engine(images).probabilities.argmax(axis=1).tolist() == [digit for digit, _ in digits]


def test_auto_takes_onnx_runtime_where_there_is_no_cuda_driver(
    released: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without NVIDIA's driver, torch is not even asked."""
    monkeypatch.setattr(app.engine, "has_cuda_driver", lambda: False)
    monkeypatch.setattr(app.engine, "cuda_devices", lambda: pytest.fail("torch was imported to ask for CUDA"))
    assert isinstance(open_engine(released, "auto", "auto", 1, "fast"), OnnxRuntimeEngine)


def test_auto_takes_torch_where_cuda_is_usable(released: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a driver and a device, auto means torch on it. The device is faked: the machine has none."""
    opened = []

    def open_fake(model: ModelFolder, network: str, device: str, threads: int) -> SimpleNamespace:
        opened.append((network, device))
        return SimpleNamespace(name="torch", device=device)

    monkeypatch.setattr(app.engine, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(app.engine, "cuda_devices", lambda: 1)
    monkeypatch.setattr(app.engine, "TorchEngine", open_fake)
    open_engine(released, "auto", "auto", 1)
    open_engine(released, "auto", "cuda:0", 1)
    open_engine(released, "torch", "auto", 1)
    assert opened == [(name, device) for device in ("cuda", "cuda:0", "cuda") for name in ("fast", "careful")]


def test_auto_on_the_cpu_stays_there(released: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """DIGITS_DEVICE=cpu is obeyed where CUDA could be had."""
    monkeypatch.setattr(app.engine, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(app.engine, "cuda_devices", lambda: 1)
    assert isinstance(open_engine(released, "auto", "cpu", 1, "fast"), OnnxRuntimeEngine)
    assert isinstance(open_engine(released, "torch", "cpu", 1, "fast"), TorchEngine)


@pytest.mark.parametrize("chosen", ["auto", "torch"])
def test_a_cuda_device_that_is_not_there_is_refused(
    chosen: str, released: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking for CUDA by name never falls back to the CPU."""
    monkeypatch.setattr(app.engine, "cuda_devices", lambda: 1)
    with pytest.raises(EngineUnavailableError, match="torch sees 1 CUDA devices"):
        open_engine(released, chosen, "cuda:1", 1)  # type: ignore[arg-type]  # pytest widens the literals


def test_cuda_for_onnx_runtime_is_refused(released: ModelFolder) -> None:
    """The message says which engine to take instead."""
    with pytest.raises(EngineUnavailableError, match="DIGITS_ENGINE=torch"):
        open_engine(released, "onnxruntime", "cuda", 1)


def test_torch_that_is_not_installed_is_refused(released: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install. (.ci/run sees the same in an environment that really has no torch.)"""
    monkeypatch.setattr(app.engine, "has_torch", lambda: False)
    with pytest.raises(EngineUnavailableError, match="pip install"):
        open_engine(released, "torch", "auto", 1)
    with pytest.raises(EngineUnavailableError, match="pip install"):
        open_engine(released, "auto", "cuda", 1)


def test_a_file_that_is_no_graph_is_refused(released: ModelFolder, tmp_path: Path) -> None:
    """A graph that is whole by its SHA-256, and is no graph, is named."""
    broken = with_file(released, tmp_path, "fast.onnx", b"not a graph")
    with pytest.raises(ModelFolderError, match=r"fast\.onnx: not a graph"):
        open_engine(broken, "onnxruntime", "cpu", 1)


def test_a_graph_of_something_else_is_refused(released: ModelFolder, tmp_path: Path) -> None:
    """A good graph with other inputs and outputs is not a digit network."""
    value = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3])
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph([helper.make_node("Relu", ["images"], ["result"])], "g", [value], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    other = with_file(released, tmp_path, "fast.onnx", model.SerializeToString())
    with pytest.raises(ModelFolderError, match="inputs and outputs"):
        open_engine(other, "onnxruntime", "cpu", 1)


def test_weights_of_another_shape_are_refused(released: ModelFolder) -> None:
    """A checkpoint is loaded into the architecture that the manifest names, or not at all; in one line."""
    networks = released.manifest.networks
    entry = networks["fast"].model_copy(update={"config": {"stem": 8, "stages": [[16, 2, 0]]}})
    manifest = released.manifest.model_copy(update={"networks": {**networks, "fast": entry}})
    with pytest.raises(ModelFolderError, match="not the weights of this DigitNet") as caught:
        open_engine(dataclasses.replace(released, manifest=manifest), "torch", "cpu", 1)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_is_a_pickle_is_refused(released: ModelFolder, tmp_path: Path) -> None:
    """A torch.save file in place of the safetensors is not unpickled."""
    import io

    import torch

    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, buffer)
    pickled = with_file(released, tmp_path, "fast.safetensors", buffer.getvalue())
    with pytest.raises(ModelFolderError, match="not the weights"):
        open_engine(pickled, "torch", "cpu", 1)


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_a_model_that_misreads_a_golden_digit_does_not_start(name: str, released: ModelFolder) -> None:
    """The self-test fails for either engine when the model does not do what its manifest says."""
    chosen = open_engine(released, name, "cpu", 1)  # type: ignore[arg-type]  # pytest widens the literals
    read_golden_digits(chosen, released)
    first, *rest = released.manifest.golden
    wrong = GoldenDigit.model_construct(digit=(first.digit + 1) % 10, pixels=first.pixels)
    manifest = released.manifest.model_copy(update={"golden": [wrong, *rest]})
    with pytest.raises(ModelFolderError, match=f"reads a golden {wrong.digit} as {first.digit}"):
        read_golden_digits(chosen, dataclasses.replace(released, manifest=manifest))


class Fixed:
    """An engine that gives every picture one digit, as surely as its first pixel says, and counts what it is given."""

    name: EngineName = "onnxruntime"
    device = "cpu"

    def __init__(self, digit: int) -> None:
        self.digit, self.seen = digit, 0

    def __call__(self, images: Images) -> Scores:
        self.seen += len(images)
        probabilities = np.zeros((len(images), 10), np.float32)
        probabilities[:, self.digit] = images[:, 0, 0] / 255
        return Scores(probabilities, (images[:, 0, 1] / 255).astype(np.float32))


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=1, max_size=20))
def test_a_cascade_passes_on_what_is_below_the_gate_and_no_more(pixels: list[tuple[int, int]]) -> None:
    """Whichever pictures are unsure, by either score, each answer comes from the right network and in its place."""
    images = np.zeros((len(pixels), 28, 28), np.uint8)
    images[:, 0, :2] = pixels
    fast, careful = Fixed(1), Fixed(2)
    scores = CascadeEngine(fast, careful, Thresholds(confidence=0.6, typicality=0.4))(images)
    unsure = [
        confidence / 255 < np.float32(0.6) or typicality / 255 < np.float32(0.4) for confidence, typicality in pixels
    ]
    assert (fast.seen, careful.seen) == (len(pixels), sum(unsure))
    for row, passed, (confidence, _) in zip(scores.probabilities, unsure, pixels, strict=True):
        assert row[2 if passed else 1] == pytest.approx(confidence / 255)


def test_one_network_of_a_cascade_can_answer_alone(released: ModelFolder) -> None:
    """fast and careful can be asked for by name, and only what is there."""
    for name in released.manifest.networks:
        assert isinstance(open_engine(released, "onnxruntime", "cpu", 1, name), OnnxRuntimeEngine)
    with pytest.raises(ModelFolderError, match="only fast, careful"):
        open_engine(released, "onnxruntime", "cpu", 1, "slow")
