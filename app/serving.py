"""A model that serves: loaded, verified, in use, and let go of when the last request that has it is answered."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import app
from app import bundle
from app.bundle import Bundle
from app.cores import cores
from app.engine import Engine, open_engine, self_test
from app.guard import guarded
from app.inference import Inference
from app.metrics import Metrics
from app.schemas import Info, Limits, ModelInfo
from app.settings import Settings

# Multiply-adds for one picture up to which a network runs in the event loop. See docs/performance.md.
LIGHT = 15_000_000


@dataclass
class ServingModel:
    """A model folder in an engine. A request takes it once, so that no answer is of two models."""

    bundle: Bundle
    engine: Engine
    inference: Inference
    info: Info
    users: int = 0  # requests that have it
    _unused: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.id = self.bundle.manifest.id
        self.thresholds = self.info.thresholds

    def test(self) -> None:
        """Have the engine read the golden digits.

        Raises:
            DigitserveError: it does not read them.
        """
        self_test(self.engine, self.bundle)

    def count(self, metrics: Metrics) -> None:
        """Have the metrics name this as the model that serves."""
        named = self.info.model
        metrics.serves(named.name, named.version, named.sha256, self.bundle.manifest.reference)

    def release(self) -> None:
        """Note that a request is done with it."""
        self.users -= 1
        if not self.users:
            self._unused.set()

    async def unused(self) -> None:
        """Wait until no request has it; none may take it any more."""
        self._unused.clear()
        if self.users:
            await self._unused.wait()


def load(settings: Settings, metrics: Metrics, on_failure: Callable[[Exception], None]) -> ServingModel:
    """Verify the model folder, load it into an engine and have that read the golden digits.

    What the setting names is looked up once: a link that moves meanwhile mixes no two folders.

    Raises:
        StartupError: any of it failed.
    """
    model = bundle.load(settings.model.resolve())
    engine = open_engine(model, settings.engine, settings.device, settings.threads, settings.network)
    self_test(engine, model)
    checked = guarded(engine, on_failure)
    light = engine.name == "onnxruntime" and lightest(model, settings.network) <= LIGHT
    inference = Inference(
        checked,
        in_loop=light,
        careful_in_loop=light and cores() // settings.workers <= 1,
        batch_max=settings.batch_max,
        batch_wait=settings.batch_wait_ms / 1000,
        max_waiting=settings.max_inflight,
        max_bulk=8 * settings.max_batch,
        on_batch=metrics.ran,
    )
    return ServingModel(model, checked, inference, describe(settings, model, engine))


def lightest(model: Bundle, network: str | None) -> int:
    """Multiply-adds of the network that reads every picture."""
    networks = model.manifest.networks
    return networks[network or next(iter(networks))].macs


def describe(settings: Settings, model: Bundle, engine: Engine) -> Info:
    """Say what runs, as /info and the command line show it."""
    manifest = model.manifest
    return Info(
        version=app.__version__,
        model=ModelInfo(
            name=manifest.name,
            version=manifest.version,
            sha256=model.sha256,
            created=manifest.created,
            networks={name: network.model_dump() for name, network in manifest.networks.items()},
            training={
                **manifest.training,
                "runs": [{key: run[key] for key in run if key != "history"} for run in manifest.training["runs"]],
            },
            metrics=manifest.metrics,
        ),
        engine=engine.name,
        device=engine.device,
        limits=Limits(**{name: getattr(settings, name) for name in Limits.model_fields}),
        thresholds=manifest.thresholds(engine.name, settings.network),
    )
