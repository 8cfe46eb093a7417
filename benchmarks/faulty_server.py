"""Run the service with an engine that can be made slow or made to fail, and with shorter time limits.

    python -m benchmarks.faulty_server serve --port 8000

accepts the arguments of the normal command line, and these environment variables:

    FAULTY_SLOW_MS         milliseconds added to each batch, which then runs in a thread
    FAULTY_FILE            while this file exists, the engine misbehaves: "error" raises, "nan" returns NaN
    FAULTY_RATE_WINDOW_S   seconds over which the upload rate is averaged, instead of 10
"""

import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from app.__main__ import main
from app.imaging.digit_image import Images
from app.inference import loaded_model
from app.inference.cascade import CascadeEngine
from app.inference.engine_selection import open_engine
from app.inference.engines import Engine
from app.inference.model_folder import EngineName, ModelFolder
from app.inference.scores import Scores
from app.server import run
from app.settings import Settings

server_options = run.server_options


class FaultyEngine:
    """Wraps an engine and makes it slow or faulty."""

    def __init__(self, engine: Engine, delay_s: float, file: Path | None) -> None:
        self._engine, self._delay_s, self._file = engine, delay_s, file
        self.name: EngineName = engine.name
        self.device = engine.device

    def __call__(self, images: Images) -> Scores:
        fault = self._file.read_text() if self._file and self._file.exists() else ""
        if fault == "error":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        scores = self._engine(images)
        time.sleep(self._delay_s)
        if fault == "nan":
            return Scores(np.full_like(scores.probabilities, np.nan), scores.typicality)
        return scores


def open_faulty_engine(model: ModelFolder, *arguments: Any) -> Engine:
    """Open an engine as the service does, and wrap it or both parts of a cascade."""
    engine = open_engine(model, *arguments)
    delay_s = float(os.environ.get("FAULTY_SLOW_MS", "0")) / 1000
    file = Path(os.environ["FAULTY_FILE"]) if "FAULTY_FILE" in os.environ else None
    if isinstance(engine, CascadeEngine):
        fast, careful = FaultyEngine(engine.fast, delay_s, file), FaultyEngine(engine.careful, delay_s, file)
        return CascadeEngine(fast, careful, engine.gate)
    return FaultyEngine(engine, delay_s, file)


def shorten_limits(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's options with the time limits that the environment sets."""
    options = server_options(settings)
    protocol = options["http"]
    if "FAULTY_RATE_WINDOW_S" in os.environ:
        window_s = float(os.environ["FAULTY_RATE_WINDOW_S"])
        timeouts = replace(protocol.keywords["timeouts"], rate_window_s=window_s)
        options["http"] = partial(protocol, timeouts=timeouts)
    return options


if __name__ in ("__main__", "__mp_main__"):  # "__mp_main__" is the name in a worker
    vars(loaded_model).update(open_engine=open_faulty_engine)
    vars(run).update(server_options=shorten_limits)
    if "FAULTY_SLOW_MS" in os.environ:
        vars(loaded_model).update(MAX_LOOP_MACS=0)  # no network is light enough to run in the event loop
if __name__ == "__main__":
    sys.exit(main())
