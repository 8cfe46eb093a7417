"""create_app: the only place that wires things together.

Start-up happens once, in this order: verify the model folder, load it into an engine, have it read its golden digits,
open the batcher, be ready. What fails on the way stops the start with one line.
"""

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypedDict

import cv2
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import app
from app import problems
from app.admission import Admission
from app.cores import cores, give_way
from app.errors import StartupError
from app.gate import Gate, names, read_keys
from app.log import AccessLog
from app.metrics import Metrics
from app.observe import Observe
from app.openapi import describe
from app.reload import HangUp, Reloader
from app.routes import batch, explain, openinference, operations, pages, predict, read
from app.service import Service
from app.serving import load
from app.settings import Settings
from app.shed import Shed
from app.shortcut import Shortcut
from app.tracing import Tracing, close, open_provider
from app.watch import Watch

if TYPE_CHECKING:  # not in the base install
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger(__name__)

# Objects after which those that are young are looked through for cycles. Python's own 700 come in one turn of a busy
# loop; with thousands of connections, which hold theirs for long, looking cost a third of the answers under overload.
YOUNG = 20_000
SAMPLED = 0.5  # seconds from one look at the queue and the counts to the next
EXPOSED = ["X-Request-ID", "Server-Timing", "Retry-After"]  # headers that a page of another origin may read


class State(TypedDict):
    """What the lifespan hands to each request, as ``request.state``."""

    service: Service


def from_environment() -> ASGIApp:
    """The service of a worker, which is a process of its own and is told its settings by the environment."""
    try:
        return create_app(Settings(), open_provider())
    except StartupError as error:
        logger.error("%s", error)
        sys.exit(3)  # as uvicorn's workers do whose application did not start


def create_app(settings: Settings, tracer_provider: "TracerProvider | None" = None) -> ASGIApp:
    """Build the service. The model is loaded when the app starts, not here.

    Args:
        tracer_provider: gives each request a span; it is shut down with the app.

    Raises:
        StartupError: a setting that names a file names none that is of use.
    """
    metrics = Metrics()
    log = AccessLog() if settings.log_level in ("info", "debug") else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        watch = Watch(lambda: service.model.test(), settings.fault_s, tell=metrics.ready.set)
        load_model = partial(load, settings, metrics, watch.failed)
        model = load_model()
        await model.inference.open()
        metrics.forget_dead_workers()
        model.count(metrics)
        cv2.setNumThreads(settings.threads)  # of its own accord it would take every core for each picture
        admission = Admission(settings.max_inflight, settings.max_inflight_pixels, settings.max_inflight_bytes)
        threads = max(1, cores() // settings.workers)
        with ThreadPoolExecutor(threads, thread_name_prefix="pictures", initializer=give_way) as pool:
            # A browser is told nothing of an answer of another origin that the middleware has not seen.
            shed = None if settings.cors_origins else Shed(admission, metrics, log)
            service = Service(settings, model, admission, pool, metrics, watch, shed)
            reloader = Reloader(service, load_model)
            HangUp(reloader.ask).install()
            sampling = asyncio.create_task(sample(service))
            gc.collect()
            gc.set_threshold(YOUNG)
            gc.freeze()  # what start-up made will stay: a full collection need not walk through it for 50 ms
            metrics.ready.set(1)
            logger.info("%s is ready on %s (%s)", model.id, model.engine.name, model.engine.device)
            try:
                yield {"service": service}
            finally:
                sampling.cancel()
                await reloader.close()
                await watch.close()
                await service.model.inference.close()
                metrics.settle()
                if tracer_provider:
                    await close(tracer_provider)

    service_app = FastAPI(
        title="digitserve",
        version=app.__version__,
        summary="Reads handwritten digits, and says when it is not sure.",
        docs_url=None,  # pages.py has them, from files of this process
        redoc_url=None,
        redirect_slashes=False,  # it would lead to whatever host the request names
        lifespan=lifespan,
        # Its own would tell of queries, and of half the requests.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    service_app.add_middleware(StartupReport)
    problems.install(service_app)
    for part in (predict, batch, read, explain, openinference, operations, pages):
        service_app.include_router(part.router)
    service_app.mount("/assets", pages.assets())
    describe(service_app)
    serving: ASGIApp = Shortcut(service_app)
    keys, hosts = read_keys(settings.api_keys), names(settings.allowed_hosts)
    if keys or hosts:
        serving = Gate(serving, keys, hosts, settings.open_metrics, settings.open_pages)
    if settings.cors_origins:  # outside the gate, for a browser asks without a key whether it may ask
        serving = CORSMiddleware(
            serving, names(settings.cors_origins), allow_methods=["*"], allow_headers=["*"], expose_headers=EXPOSED
        )
    if tracer_provider:
        serving = Tracing(serving, tracer_provider)
    return Observe(serving, metrics, log)


async def sample(service: Service) -> None:
    """Bring the counts up to date, now and then: it may be another worker that is asked for the metrics."""
    while True:
        service.count_waiting()
        service.metrics.settle()
        await asyncio.sleep(SAMPLED)


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
