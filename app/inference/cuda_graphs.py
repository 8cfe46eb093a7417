"""CUDA graphs: the kernels of a network, recorded once for a batch size and then started by one call.

A GPU finishes the small kernels of our networks faster than Python can start them. A recorded batch leaves that time
out (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
"""

from collections.abc import Callable, Sequence
from threading import Lock

import torch
from torch import Tensor

from app.imaging.digit_image import IMAGE_SIZE, Images

WARM_UPS = 3  # torch and cuDNN choose their kernels in the first runs
SIZES = (1, 2, 4, 8, 16, 32, 64)  # the service never reads more at once, unless DIGITS_BATCH_MAX is raised


class RecordedBatches:
    """A network as CUDA graphs, one for each of a few batch sizes. Smaller batches are padded.

    Args:
        compute: Maps pictures ``uint8 (N, 28, 28)`` on the device to scores ``float32 (N, K)``.
        device: A CUDA device.
        sizes: The batch sizes, ascending.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor], device: str, sizes: Sequence[int] = SIZES) -> None:
        self._lock = Lock()  # overlapping calls would write into the same tensors
        self._batches = [_Recording(compute, device, size) for size in sizes]
        self.largest = sizes[-1]

    def __call__(self, images: Images) -> Tensor:
        """Return the scores ``(N, K)`` of at most ``largest`` pictures, on the CPU."""
        batch = next(batch for batch in self._batches if batch.size >= len(images))
        with self._lock:
            return batch.replay(torch.tensor(images))  # copies: pictures from the network are read-only


class _Recording:
    """The graph of one batch size, with the tensors that it reads and writes."""

    def __init__(self, compute: Callable[[Tensor], Tensor], device: str, size: int) -> None:
        self.size = size
        self._pictures = torch.zeros(size, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8, device=device)
        self._graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.device(device):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    compute(self._pictures)
            torch.cuda.current_stream().wait_stream(stream)
            # Other threads may use CUDA meanwhile: the model that is served while this one is loaded.
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._scores = compute(self._pictures)

    def replay(self, images: Tensor) -> Tensor:
        count = len(images)
        with torch.inference_mode():
            self._pictures[:count].copy_(images)
            self._graph.replay()
            return self._scores[:count].cpu()
