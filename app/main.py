"""create_app: the only place that wires things together.

Start-up happens once, in this order: verify the model folder, load it into an engine, have it read its golden digits,
open the batcher, be ready. What fails on the way stops the start with one line.
"""

import gc
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypedDict

import cv2
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import app
from app import bundle, problems
from app.bundle import Bundle
from app.cores import cores, give_way
from app.engine import Engine, open_engine, self_test
from app.errors import StartupError
from app.inference import Inference
from app.log import AccessLog
from app.metrics import Metrics
from app.observe import Observe
from app.openapi import describe
from app.routes import batch, openinference, operations, pages, predict, read
from app.schemas import Info, Limits, ModelInfo
from app.service import Service
from app.settings import Settings
from app.shortcut import Shortcut

logger = logging.getLogger(__name__)

# Multiply-adds for one picture up to which a network runs in the event loop. See docs/performance.md.
LIGHT = 15_000_000


class State(TypedDict):
    """What the lifespan hands to each request, as ``request.state``."""

    service: Service


def from_environment() -> ASGIApp:
    """The service of a worker, which is a process of its own and is told its settings by the environment."""
    return create_app(Settings())


def create_app(settings: Settings) -> ASGIApp:
    """Build the service. The model is loaded when the app starts, not here."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        model = bundle.load(settings.model)
        engine = open_engine(model, settings.engine, settings.device, settings.threads, settings.network)
        self_test(engine, model)
        cv2.setNumThreads(settings.threads)  # of its own accord it would take every core for each picture
        inference = Inference(
            engine,
            in_loop=engine.name == "onnxruntime" and lightest(model, settings.network) <= LIGHT,
            batch_max=settings.batch_max,
            batch_wait=settings.batch_wait_ms / 1000,
            max_waiting=settings.max_inflight,
            max_bulk=8 * settings.max_batch,
            on_batch=metrics.ran,
        )
        metrics.forget_dead_workers()
        threads = max(1, cores() // settings.workers)
        with ThreadPoolExecutor(threads, thread_name_prefix="pictures", initializer=give_way) as pool:
            async with inference:
                info = describe_service(settings, model, engine)
                service = Service(settings, info, inference, pool, metrics, ready=True)
                gc.collect()
                gc.freeze()  # what start-up made will stay: a full collection need not walk through it for 50 ms
                logger.info("%s is ready on %s (%s)", model.manifest.id, engine.name, engine.device)
                yield {"service": service}
                service.ready = False

    service_app = FastAPI(
        title="digitserve",
        version=app.__version__,
        summary="Reads handwritten digits, and says when it is not sure.",
        docs_url=None,  # pages.py has them, from files of this process
        redoc_url=None,
        lifespan=lifespan,
    )
    service_app.add_middleware(StartupReport)
    problems.install(service_app)
    for part in (predict, batch, read, openinference, operations, pages):
        service_app.include_router(part.router)
    service_app.mount("/assets", pages.assets())
    describe(service_app)
    log = AccessLog() if settings.log_level in ("info", "debug") else None
    return Observe(Shortcut(service_app), metrics, log)


def lightest(model: Bundle, network: str | None) -> int:
    """Multiply-adds of the network that reads every picture."""
    networks = model.manifest.networks
    return networks[network or next(iter(networks))].macs


def describe_service(settings: Settings, model: Bundle, engine: Engine) -> Info:
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
        limits=Limits(
            max_body_bytes=settings.max_body_bytes,
            max_pixels=settings.max_pixels,
            max_inflight=settings.max_inflight,
        ),
        thresholds=manifest.thresholds(engine.name, settings.network),
    )


class StartupReport:
    """ASGI middleware: a start that fails for a reason that we know says so in one line, where Starlette would show
    the server a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        failure: Message | None = None

        async def hold_failure(message: Message) -> None:
            nonlocal failure
            if message["type"] == "lifespan.startup.failed":
                failure = message
            else:
                await send(message)

        try:
            await self.app(scope, receive, hold_failure)
        except StartupError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
        except BaseException:
            if failure:
                await send(failure)
            raise
