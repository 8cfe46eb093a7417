"""Engines: a batch of pictures in, scores out.

ONNX Runtime on a CPU: it starts in a tenth of a second and reads a digit several times faster than eager torch.
Torch on CUDA, and on a CPU for whoever asks for it; torch is imported only then. Knows nothing of requests, queues or
thresholds.
"""

import ctypes
import importlib.util
import sys
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from app.bundle import CASCADE, Bundle, EngineName, GoldenDigit, Thresholds
from app.errors import EngineUnavailableError, ModelFolderError

Images = NDArray[np.uint8]  # (N, 28, 28), light ink on black


@dataclass(frozen=True)
class Scores:
    """What a network makes of a batch of N pictures."""

    probabilities: NDArray[np.float32]  # (N, 10), calibrated; each row sums to 1
    typicality: NDArray[np.float32]  # (N,), in [0, 1]: how surely it is a digit at all


class Engine(Protocol):
    """Something that runs a model. Calls may overlap."""

    @property
    def name(self) -> EngineName: ...

    @property
    def device(self) -> str: ...

    def __call__(self, images: Images) -> Scores: ...


class OnnxRuntimeEngine:
    """One network's graph, run by ONNX Runtime on the CPU."""

    name: EngineName = "onnxruntime"
    device = "cpu"

    def __init__(self, bundle: Bundle, network: str, threads: int = 1) -> None:
        """Load the graph.

        Raises:
            ModelFolderError: the file is not a graph, or not one of ``uint8 (N, 28, 28)`` to our two outputs.
        """
        graph = bundle.manifest.networks[network].graph
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors alone
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # idle threads leave the core to others
        try:
            self._session = onnxruntime.InferenceSession(
                bundle.contents[graph], options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime has a dozen exceptions of its own, with no base in common
            raise ModelFolderError(
                f"{bundle.folder / graph}: not a graph that ONNX Runtime can load: {error}"
            ) from None
        signature = (
            [(value.name, value.type, value.shape[1:]) for value in self._session.get_inputs()],
            [(value.name, value.type, value.shape[1:]) for value in self._session.get_outputs()],
        )
        if signature != (
            [("images", "tensor(uint8)", [28, 28])],
            [("probabilities", "tensor(float)", [10]), ("typicality", "tensor(float)", [])],
        ):
            raise ModelFolderError(f"{bundle.folder / graph}: its inputs and outputs are not a digit network's")

    def __call__(self, images: Images) -> Scores:
        probabilities, typicality = self._session.run(None, {"images": images})
        return Scores(probabilities, typicality)


class TorchEngine:
    """One network's checkpoint, run by torch."""

    name: EngineName = "torch"

    def __init__(self, bundle: Bundle, network: str, device: str = "cpu", threads: int = 1) -> None:
        """Rebuild the network and load its weights.

        Raises:
            ModelFolderError: the weights are not those of the architecture that the manifest names.
        """
        import safetensors
        import safetensors.torch
        import torch

        from app.network import build

        entry = bundle.manifest.networks[network]
        path = bundle.folder / entry.checkpoint
        try:
            module = build(entry.architecture, entry.config)
            module.load_state_dict(safetensors.torch.load(bundle.contents[entry.checkpoint]))
        except (TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise ModelFolderError(f"{path}: not the weights of this {entry.architecture}: {reason}") from None
        if device == "cpu":
            torch.set_num_threads(threads)
        self.device = device
        self._torch = torch
        self.network = module.to(device).eval()

    def __call__(self, images: Images) -> Scores:
        with self._torch.inference_mode():
            batch = self._torch.tensor(images)  # a copy, for what came over the network cannot be written to
            if self.device != "cpu":
                batch = batch.pin_memory().to(self.device, non_blocking=True)
            probabilities, typicality = self.network(batch)
            # One copy back, and so one wait for the device.
            both = self._torch.cat([probabilities, typicality.unsqueeze(1)], dim=1).cpu().numpy()
            return Scores(both[:, :-1], both[:, -1])


class CascadeEngine:
    """Two engines: a fast one reads every picture, and a careful one those that the first is unsure of."""

    def __init__(self, fast: Engine, careful: Engine, gate: Thresholds) -> None:
        self.fast, self.careful, self.gate = fast, careful, gate
        self.name, self.device = fast.name, fast.device

    def __call__(self, images: Images) -> Scores:
        scores = self.fast(images)
        unsure = below(scores, self.gate)
        if unsure.any():
            second = self.careful(images[unsure])
            scores.probabilities[unsure] = second.probabilities
            scores.typicality[unsure] = second.typicality
        return scores


def fast_part(engine: Engine) -> Engine:
    """The part of an engine that reads every picture: all of it, but of a cascade."""
    return engine.fast if isinstance(engine, CascadeEngine) else engine


def below(scores: Scores, thresholds: Thresholds) -> NDArray[np.bool_]:
    """Tell which answers ``(N,)`` do not reach either threshold."""
    confidence: NDArray[np.float32] = scores.probabilities.max(axis=1)
    return np.asarray((confidence < thresholds.confidence) | (scores.typicality < thresholds.typicality))


def open_engine(
    bundle: Bundle,
    engine: Literal["auto", "onnxruntime", "torch"] = "auto",
    device: str = "auto",
    threads: int = 1,
    network: str | None = None,
) -> Engine:
    """Choose an engine and load the model into it: the whole model, or one ``network`` of it alone.

    ``auto`` takes torch where CUDA is usable, and ONNX Runtime on the CPU otherwise. What is asked for by name is
    taken, or refused; never silently replaced.

    Raises:
        EngineUnavailableError: what was asked for is not on this machine; the message says what to install.
        ModelFolderError: the model does not load, or has no such network.
    """
    kind, device = choose(engine, device)
    names = list(bundle.manifest.networks)
    if network and network not in names:
        raise ModelFolderError(f"{bundle.folder}: there is no {network} network in this model, only {', '.join(names)}")

    def load(name: str) -> Engine:
        if kind == "torch":
            return TorchEngine(bundle, name, device, threads)
        return OnnxRuntimeEngine(bundle, name, threads)

    cascade = bundle.manifest.calibration[kind].cascade
    if cascade and not network:
        fast, careful = (load(name) for name in CASCADE)
        return CascadeEngine(fast, careful, cascade.gate)
    return load(network or names[0])


def choose(engine: Literal["auto", "onnxruntime", "torch"], device: str) -> tuple[EngineName, str]:
    """Settle which engine runs, and on which device."""
    if engine == "onnxruntime" and device.startswith("cuda"):
        raise EngineUnavailableError(
            "The onnxruntime engine runs on the CPU alone. For CUDA set DIGITS_ENGINE=torch, or leave it at auto."
        )
    if engine == "torch" or device.startswith("cuda"):
        require_torch()
        if device == "auto":
            device = "cuda" if cuda_devices() else "cpu"
        if device.startswith("cuda"):
            require_cuda(device)
        return "torch", device
    if engine == "auto" and device == "auto" and has_torch() and has_cuda_driver() and cuda_devices():
        return "torch", "cuda"
    return "onnxruntime", "cpu"


def has_torch() -> bool:
    return all(importlib.util.find_spec(name) for name in ("torch", "safetensors"))


def require_torch() -> None:
    if not has_torch():
        raise EngineUnavailableError("Torch is not installed, and was asked for. Install it: pip install '.[torch]'")


def has_cuda_driver() -> bool:
    """Whether NVIDIA's driver is here: a look that costs microseconds, where importing torch costs seconds."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def cuda_devices() -> int:
    """How many CUDA devices torch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def require_cuda(device: str) -> None:
    count = cuda_devices()
    index = int(device.partition(":")[2] or 0)
    if index >= count:
        raise EngineUnavailableError(
            f"Device {device} was asked for, and torch sees {count} CUDA devices. Install NVIDIA's driver and a build "
            f"of torch for CUDA (in a container: the CUDA variant, run with --gpus all), or set DIGITS_DEVICE=cpu."
        )


def self_test(engine: Engine, bundle: Bundle) -> None:
    """Warm an engine, alone and in a batch, and have it read the model's golden digits; of a cascade, each part too.

    Raises:
        ModelFolderError: it misreads one, or gives no probabilities.
    """
    if isinstance(engine, CascadeEngine):
        self_test(engine.fast, bundle)
        self_test(engine.careful, bundle)
    golden: list[GoldenDigit] = bundle.manifest.golden
    images = np.stack([digit.image for digit in golden])
    engine(images[:1])
    scores = engine(images)
    if not np.allclose(scores.probabilities.sum(axis=1), 1, atol=1e-3):  # true of no NaN either
        raise ModelFolderError(f"{bundle.folder}: {engine.name} on {engine.device} gives no probabilities")
    for digit, read in zip(golden, scores.probabilities.argmax(axis=1), strict=True):
        if read != digit.digit:
            raise ModelFolderError(
                f"{bundle.folder}: {engine.name} on {engine.device} reads a golden {digit.digit} as {read}"
            )
