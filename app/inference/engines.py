"""Engines: a batch of pictures in, scores out.

ONNX Runtime runs on a CPU. It starts in a tenth of a second and reads a digit several times faster than eager torch.
The torch engine, for CUDA, is in ``torch_engine.py``.
"""

from collections.abc import Callable
from typing import Protocol

import onnxruntime

from app.errors import EngineFailedError, ModelFolderError
from app.imaging.digit_image import IMAGE_SIZE, Images
from app.inference.model_folder import EngineName, ModelFolder
from app.inference.scores import Scores

TOLERANCE = 1e-3  # how far the probabilities of a picture may be from a sum of 1, on average


class Engine(Protocol):
    """Runs a model. Calls may overlap."""

    @property
    def name(self) -> EngineName: ...

    @property
    def device(self) -> str: ...

    def __call__(self, images: Images) -> Scores: ...


class OnnxRuntimeEngine:
    """Runs one network's graph with ONNX Runtime on the CPU."""

    name: EngineName = "onnxruntime"
    device = "cpu"

    def __init__(self, model: ModelFolder, network: str, threads: int = 1) -> None:
        """Load the graph.

        Raises:
            ModelFolderError: The file is not a graph, or does not map ``uint8 (N, 28, 28)`` to our two outputs.
        """
        graph = model.manifest.networks[network].graph
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # idle threads leave the core to others
        try:
            self._session = onnxruntime.InferenceSession(
                model.contents[graph], options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime has a dozen exception types without a common base
            raise ModelFolderError(f"{model.folder / graph}: ONNX Runtime cannot load this graph: {error}") from None
        signature = (
            [(value.name, value.type, value.shape[1:]) for value in self._session.get_inputs()],
            [(value.name, value.type, value.shape[1:]) for value in self._session.get_outputs()],
        )
        if signature != (
            [("images", "tensor(uint8)", [IMAGE_SIZE, IMAGE_SIZE])],
            [("probabilities", "tensor(float)", [10]), ("typicality", "tensor(float)", [])],
        ):
            raise ModelFolderError(f"{model.folder / graph}: its inputs and outputs are not those of a digit network")

    def __call__(self, images: Images) -> Scores:
        probabilities, typicality = self._session.run(None, {"images": images})
        return Scores(probabilities, typicality)


class CheckedEngine:
    """Wraps an engine. Raises EngineFailedError if its output is not a probability distribution.

    Args:
        engine: The engine that reads.
        on_failure: Called with each failure, in the thread where it happens.
    """

    def __init__(self, engine: Engine, on_failure: Callable[[Exception], None]) -> None:
        self._engine, self._on_failure = engine, on_failure
        self.name: EngineName = engine.name
        self.device = engine.device

    def __call__(self, images: Images) -> Scores:
        """Read pictures.

        Raises:
            EngineFailedError: The engine raised an exception, or its output is not valid.
        """
        try:
            scores = self._engine(images)
            count = len(images)
            if len(scores.probabilities) != count or len(scores.typicality) != count:
                raise ValueError("the number of scores differs from the number of pictures")
            # One NaN makes the whole sum a NaN, and every comparison with a NaN is false.
            if not abs(float(scores.probabilities.sum()) - count) <= TOLERANCE * count:
                raise ValueError("the probabilities do not sum to 1")
            if not -TOLERANCE <= float(scores.typicality.sum()) <= count * (1 + TOLERANCE):
                raise ValueError("the typicalities are not between 0 and 1")
        except Exception as error:  # each device fails in its own way
            self._on_failure(error)
            raise EngineFailedError("The engine failed. This is our fault. Trying again may help.") from error
        return scores
