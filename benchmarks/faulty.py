"""The service with an engine that can be made slow or made to fail, to see what becomes of it.

    python -m benchmarks.faulty serve --port 8000

takes what the command line takes, and from the environment:

    FAULTY_SLOW_MS   what a batch takes longer, in a thread of its own
    FAULTY_FILE      while this file is there, what is in it happens: "error" raises, "nan" gives what is no number
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from app import serving
from app.__main__ import main
from app.bundle import Bundle, EngineName
from app.engine import CascadeEngine, Engine, Images, Scores, open_engine


class FaultyEngine:
    """An engine around another."""

    def __init__(self, engine: Engine, slow: float, file: Path | None) -> None:
        self._engine, self._slow, self._file = engine, slow, file
        self.name: EngineName = engine.name
        self.device = engine.device

    def __call__(self, images: Images) -> Scores:
        fault = self._file.read_text() if self._file and self._file.exists() else ""
        if fault == "error":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        scores = self._engine(images)
        time.sleep(self._slow)
        if fault == "nan":
            return Scores(np.full_like(scores.probabilities, np.nan), scores.typicality)
        return scores


def open_faulty(bundle: Bundle, *arguments: Any) -> Engine:
    engine = open_engine(bundle, *arguments)
    slow = float(os.environ.get("FAULTY_SLOW_MS", "0")) / 1000
    file = Path(os.environ["FAULTY_FILE"]) if "FAULTY_FILE" in os.environ else None
    if isinstance(engine, CascadeEngine):
        fast, careful = FaultyEngine(engine.fast, slow, file), FaultyEngine(engine.careful, slow, file)
        return CascadeEngine(fast, careful, engine.gate)
    return FaultyEngine(engine, slow, file)


if __name__ in ("__main__", "__mp_main__"):  # the second is in a worker
    vars(serving).update(open_engine=open_faulty)
    if "FAULTY_SLOW_MS" in os.environ:
        vars(serving).update(LIGHT=0)  # nothing is light enough for the event loop
if __name__ == "__main__":
    sys.exit(main())
