"""Selects an engine and a device, and loads a model into it."""

from typing import Literal

from app.errors import EngineUnavailableError, ModelFolderError
from app.inference import torch_engine
from app.inference.cascade import CascadeEngine
from app.inference.engines import Engine, OnnxRuntimeEngine
from app.inference.model_folder import CASCADE, EngineName, ModelFolder
from app.inference.torch_engine import TorchEngine


def open_engine(
    model: ModelFolder,
    engine: Literal["auto", "onnxruntime", "torch"] = "auto",
    device: str = "auto",
    threads: int = 1,
    network: str | None = None,
) -> Engine:
    """Load a model, or only one ``network`` of it, into an engine.

    ``auto`` selects torch if CUDA is usable, and ONNX Runtime on the CPU otherwise. An engine or device that is named
    is used or refused, never silently replaced.

    Raises:
        EngineUnavailableError: This machine does not have the engine or the device. The message says what to install.
        ModelFolderError: The model does not load, or has no such network.
    """
    engine_name, device = select_engine(engine, device)
    names = list(model.manifest.networks)
    if network and network not in names:
        raise ModelFolderError(f"{model.folder}: this model has no {network} network, only {', '.join(names)}")

    def load(name: str) -> Engine:
        if engine_name == "torch":
            return TorchEngine(model, name, device, threads)
        return OnnxRuntimeEngine(model, name, threads)

    cascade = model.manifest.calibration[engine_name].cascade
    if cascade and not network:
        fast, careful = (load(name) for name in CASCADE)
        return CascadeEngine(fast, careful, cascade.gate)
    return load(network or names[0])


def select_engine(engine: Literal["auto", "onnxruntime", "torch"], device: str) -> tuple[EngineName, str]:
    """Return the engine and the device to use.

    Raises:
        EngineUnavailableError: This machine does not have what was named.
    """
    if engine == "onnxruntime" and device.startswith("cuda"):
        raise EngineUnavailableError(
            "The onnxruntime engine runs only on the CPU. For CUDA, set DIGITS_ENGINE to torch or auto."
        )
    if engine == "torch" or device.startswith("cuda"):
        torch_engine.require_torch()
        if device == "auto":
            device = "cuda" if torch_engine.cuda_device_count() else "cpu"
        if device.startswith("cuda"):
            torch_engine.require_cuda(device)
        return "torch", device
    if (
        (engine, device) == ("auto", "auto")
        and torch_engine.has_torch()
        and torch_engine.has_cuda_driver()
        and torch_engine.cuda_device_count()
    ):
        return "torch", "cuda"
    return "onnxruntime", "cpu"
