"""A model that is loaded and verified, until the last request that uses it is answered."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from app.inference import model_folder
from app.inference.cascade import add_output_checks
from app.inference.cpu import available_cores
from app.inference.engine_selection import open_engine
from app.inference.engines import Engine
from app.inference.golden_digits import read_golden_digits
from app.inference.model_folder import ModelFolder, Thresholds
from app.inference.scheduler import Scheduler

# A network with up to this many multiply-adds per picture runs in the event loop. See docs/performance.md.
MAX_LOOP_MACS = 15_000_000


@dataclass(frozen=True)
class ModelOptions:
    """How a model is loaded and scheduled."""

    engine: Literal["auto", "onnxruntime", "torch"] = "auto"
    device: str = "auto"
    threads: int = 1
    network: str | None = None  # the only network to use, or None for the whole model
    workers: int = 1  # processes that share this machine's cores
    max_batch: int = 64  # single pictures in one batch
    batch_wait_s: float = 0.0  # how long a batch waits for more pictures
    max_waiting: int = 1024  # single pictures
    max_bulk: int = 8192  # pictures of large batches that may wait


@dataclass
class LoadedModel:
    """A model folder in an engine. A request takes it once, so that no answer mixes two models."""

    folder: ModelFolder
    engine: Engine
    scheduler: Scheduler
    thresholds: Thresholds  # of acceptance
    users: int = 0  # requests that use it
    _unused: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        manifest = self.folder.manifest
        self.id, self.name, self.version = manifest.id, manifest.name, manifest.version

    def read_golden_digits(self) -> None:
        """Check that the engine reads the golden digits.

        Raises:
            DigitserveError: It does not.
        """
        read_golden_digits(self.engine, self.folder)

    def release(self) -> None:
        """Note that a request no longer uses it."""
        self.users -= 1
        if not self.users:
            self._unused.set()

    async def wait_until_unused(self) -> None:
        """Wait until no request uses it. New requests must get another model by now."""
        self._unused.clear()
        if self.users:
            await self._unused.wait()


def load_model(
    path: Path,
    options: ModelOptions,
    on_failure: Callable[[Exception], None],
    on_batch: Callable[[int, float], None] = lambda size, seconds: None,
) -> LoadedModel:
    """Verify a model folder, load it into an engine, and let that read the golden digits.

    Args:
        path: The folder, or a link to it. The link is resolved once, so a link that moves meanwhile mixes no folders.
        on_failure: Called with each failure of the engine, in the thread where it happens.
        on_batch: Called after each batch with its size and its duration in seconds.

    Raises:
        StartupError: The model cannot serve.
    """
    folder = model_folder.load(path.resolve())
    engine = open_engine(folder, options.engine, options.device, options.threads, options.network)
    folder.contents.clear()  # the engine has read what it needs: this frees 11 MB
    read_golden_digits(engine, folder)
    checked = add_output_checks(engine, on_failure)
    in_loop = engine.name == "onnxruntime" and macs_per_picture(folder, options.network) <= MAX_LOOP_MACS
    scheduler = Scheduler(
        checked,
        in_loop=in_loop,
        careful_in_loop=in_loop and available_cores() // options.workers <= 1,
        max_batch=options.max_batch,
        batch_wait_s=options.batch_wait_s,
        max_waiting=options.max_waiting,
        max_bulk=options.max_bulk,
        on_batch=on_batch,
    )
    return LoadedModel(folder, checked, scheduler, folder.manifest.thresholds(engine.name, options.network))


def macs_per_picture(folder: ModelFolder, network: str | None) -> int:
    """Return the multiply-adds of the network that reads every picture."""
    networks = folder.manifest.networks
    return networks[network or next(iter(networks))].macs
