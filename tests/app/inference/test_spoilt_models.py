"""Model folders whose checksums agree and that hold something else: the start says so, and nothing in them runs."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from app.inference.model_folder import ModelFolder
from tests.support.running import run_app


@pytest.fixture
def copy(released: ModelFolder, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released.folder, tmp_path / "model-1.0.0"))


def replace(file: Path, content: bytes) -> None:
    """Put other bytes into a model folder, and have its manifest say that they are the right ones."""
    file.write_bytes(content)
    manifest = json.loads((file.parent / "manifest.json").read_text())
    manifest["files"][file.name] = sha256(content).hexdigest()
    (file.parent / "manifest.json").write_text(json.dumps(manifest))


def graph(shape: list[int | str]) -> bytes:
    """A graph that is valid, and gives each picture back as it is."""
    pictures = helper.make_tensor_value_info("images", TensorProto.UINT8, shape)
    same = helper.make_tensor_value_info("probabilities", TensorProto.UINT8, shape)
    nodes = [helper.make_node("Identity", ["images"], ["probabilities"])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [pictures], [same]), opset_imports=[onnx.OperatorSetIdProto(version=20)]
    )
    model.ir_version = 10
    return bytes(model.SerializeToString())


class Trap:
    """Unpickled, it writes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.file}",)


Spoil = Callable[[bytes, bytes], bytes]  # the file as it was, and a trap -> what is there instead
SPOILT: dict[str, tuple[str, Spoil]] = {
    "an empty graph": ("onnxruntime", lambda whole, trap: b""),
    "half a graph": ("onnxruntime", lambda whole, trap: whole[: len(whole) // 2]),
    "zeros in its midst": ("onnxruntime", lambda whole, trap: whole[:100] + bytes(1000) + whole[1100:]),
    "a graph of other outputs": ("onnxruntime", lambda whole, trap: graph(["N", 28, 28])),
    "a graph of another shape": ("onnxruntime", lambda whole, trap: graph(["N", 32, 32])),
    "a pickle for a graph": ("onnxruntime", lambda whole, trap: trap),
    "half of the weights": ("torch", lambda whole, trap: whole[: len(whole) // 2]),
    "a pickle for weights": ("torch", lambda whole, trap: trap),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_model_that_is_none_stops_the_start(name: str, copy: Path, tmp_path: Path) -> None:
    """Though its checksums agree: one line names the file, nothing is served, and no pickle is ever opened."""
    engine, spoil = SPOILT[name]
    file = copy / ("fast.onnx" if engine == "onnxruntime" else "fast.safetensors")
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))
    pickle.loads(trap)  # the trap works
    sprung.unlink()
    replace(file, spoil(file.read_bytes(), trap))
    for extra in ("model.pkl", "fast.pt"):  # what nobody asked for is not looked at
        (copy / extra).write_bytes(trap)
    done = run_app("serve", "--port", "0", DIGITS_MODEL=str(copy), DIGITS_ENGINE=engine, DIGITS_DEVICE="cpu")
    errors = [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if '"level": "error"' in line]
    assert done.returncode == 3
    assert str(file) in errors[0]["message"]
    assert "\n" not in errors[0]["message"]
    assert "Traceback" not in done.stdout + done.stderr
    assert "running on" not in done.stdout + done.stderr
    assert not sprung.exists()
