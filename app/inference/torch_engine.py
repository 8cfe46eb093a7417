"""The torch engine: for CUDA, and for the CPU on request. It imports torch only when it is used."""

import ctypes
import importlib.util
import sys
from typing import TYPE_CHECKING

from app.errors import EngineUnavailableError, ModelFolderError, install_command
from app.imaging.digit_image import Images
from app.inference.model_folder import EngineName, ModelFolder
from app.inference.scores import Scores

if TYPE_CHECKING:
    from torch import Tensor


class TorchEngine:
    """Runs one network's checkpoint with torch."""

    name: EngineName = "torch"

    def __init__(self, model: ModelFolder, network: str, device: str = "cpu", threads: int = 1) -> None:
        """Rebuild the network and load its weights.

        Raises:
            ModelFolderError: The weights do not fit the architecture that the manifest names.
        """
        import safetensors
        import safetensors.torch
        import torch

        from app.inference.networks import build_network

        entry = model.manifest.networks[network]
        path = model.folder / entry.checkpoint
        try:
            module = build_network(entry.architecture, entry.config)
            module.load_state_dict(safetensors.torch.load(model.contents[entry.checkpoint]))
        except (TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise ModelFolderError(f"{path}: the weights do not fit this {entry.architecture}: {reason}") from None
        if device == "cpu":
            torch.set_num_threads(threads)
        self.device = device
        self._torch = torch
        self.network = module.to(device).eval()
        self._recorded = None
        if device != "cpu":
            from app.inference.cuda_graphs import RecordedBatches

            self._recorded = RecordedBatches(self.compute, device)

    def compute(self, batch: "Tensor") -> "Tensor":
        """Map pictures on the device to ``(N, 11)``: probabilities and typicality, to copy back at once."""
        probabilities, typicality = self.network(batch)
        return self._torch.cat([probabilities, typicality.unsqueeze(1)], dim=1)

    def __call__(self, images: Images) -> Scores:
        if self._recorded and len(images) <= self._recorded.largest:
            scores = self._recorded(images).numpy()
        else:
            with self._torch.inference_mode():
                batch = self._torch.tensor(images)  # copies: pictures from the network are read-only
                scores = self.compute(batch.to(self.device)).cpu().numpy()
        return Scores(scores[:, :-1], scores[:, -1])


def has_torch() -> bool:
    """Return whether torch and safetensors are installed, without importing them."""
    return all(importlib.util.find_spec(name) for name in ("torch", "safetensors"))


def require_torch() -> None:
    """Raise EngineUnavailableError if torch is not installed."""
    if not has_torch():
        raise EngineUnavailableError(f"The torch engine needs torch. Install it: {install_command('torch')}")


def has_cuda_driver() -> bool:
    """Return whether NVIDIA's driver is installed. This takes microseconds; importing torch takes seconds."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def cuda_device_count() -> int:
    """Return how many CUDA devices torch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def require_cuda(device: str) -> None:
    """Raise EngineUnavailableError if torch cannot use a device such as ``cuda:1``."""
    count = cuda_device_count()
    index = int(device.partition(":")[2] or 0)
    if index >= count:
        raise EngineUnavailableError(
            f"Device {device} is not available: torch sees {count} CUDA devices. Install NVIDIA's driver and a CUDA "
            f"build of torch (in a container: the CUDA variant, run with --gpus all), or set DIGITS_DEVICE=cpu."
        )
