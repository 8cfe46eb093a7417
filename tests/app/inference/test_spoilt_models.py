"""Model folders with matching checksums but wrong content: the service does not start, and runs nothing from them."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from app.inference.model_folder import ModelFolder
from tests.support.running import run_app

pytestmark = pytest.mark.slow  # starts services, or reads hundreds of pictures


@pytest.fixture
def copy(released: ModelFolder, tmp_path: Path) -> Path:
    """A copy of the released model."""
    return Path(shutil.copytree(released.folder, tmp_path / "model-1.0.0"))


def replace_file(file: Path, content: bytes) -> None:
    """Replace a file in a model folder, and put its new SHA-256 into the manifest."""
    file.write_bytes(content)
    manifest = json.loads((file.parent / "manifest.json").read_text())
    manifest["files"][file.name] = sha256(content).hexdigest()
    (file.parent / "manifest.json").write_text(json.dumps(manifest))


def make_graph(shape: list[int | str]) -> bytes:
    """Make a valid graph that returns its input."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    pictures = helper.make_tensor_value_info("images", TensorProto.UINT8, shape)
    same = helper.make_tensor_value_info("probabilities", TensorProto.UINT8, shape)
    nodes = [helper.make_node("Identity", ["images"], ["probabilities"])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [pictures], [same]), opset_imports=[onnx.OperatorSetIdProto(version=20)]
    )
    model.ir_version = 10
    return bytes(model.SerializeToString())


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.file}",)


Spoil = Callable[[bytes, bytes], bytes]  # maps the good file and a trap to the wrong content
SPOILT: dict[str, tuple[str, Spoil]] = {
    "an empty graph": ("onnxruntime", lambda good, trap: b""),
    "half a graph": ("onnxruntime", lambda good, trap: good[: len(good) // 2]),
    "a graph with zeros inside": ("onnxruntime", lambda good, trap: good[:100] + bytes(1000) + good[1100:]),
    "a graph with other outputs": ("onnxruntime", lambda good, trap: make_graph(["N", 28, 28])),
    "a graph of another shape": ("onnxruntime", lambda good, trap: make_graph(["N", 32, 32])),
    "a pickle instead of a graph": ("onnxruntime", lambda good, trap: trap),
    "half of the weights": ("torch", lambda good, trap: good[: len(good) // 2]),
    "a pickle instead of weights": ("torch", lambda good, trap: trap),
}


@pytest.mark.parametrize(
    "name",
    [
        name if engine == "onnxruntime" else pytest.param(name, marks=pytest.mark.slow)
        for name, (engine, _) in SPOILT.items()
    ],
)
def test_a_spoilt_model_stops_the_start(name: str, copy: Path, tmp_path: Path) -> None:
    """One line of the log names the file, nothing is served, and no pickle is opened."""
    engine, spoil = SPOILT[name]
    if engine == "torch":
        pytest.importorskip("torch")
    file = copy / ("fast.onnx" if engine == "onnxruntime" else "fast.safetensors")
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))
    pickle.loads(trap)  # the trap works
    sprung.unlink()
    replace_file(file, spoil(file.read_bytes(), trap))
    for extra in ("model.pkl", "fast.pt"):  # files that the manifest does not list are ignored
        (copy / extra).write_bytes(trap)
    done = run_app("serve", "--port", "0", DIGITS_MODEL=str(copy), DIGITS_ENGINE=engine, DIGITS_DEVICE="cpu")
    errors = [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if '"level": "error"' in line]
    assert done.returncode == 3
    assert str(file) in errors[0]["message"]
    assert "\n" not in errors[0]["message"]
    assert "Traceback" not in done.stdout + done.stderr
    assert "running on" not in done.stdout + done.stderr
    assert not sprung.exists()
