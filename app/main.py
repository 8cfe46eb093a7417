"""create_app: the one place that wires everything together.

Start-up has these steps: verify the model folder, load it into an engine, let the engine read the golden digits, open
the scheduler, be ready. If a step fails, the service stops with a one-line error.
"""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypedDict

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

import app
from app.http.middleware.auth import Auth, list_open_paths, parse_list, read_keys
from app.http.middleware.compression import Compression
from app.http.middleware.methods import Methods
from app.http.middleware.request_log import RequestLog
from app.http.middleware.startup_errors import StartupErrors
from app.http.middleware.tracing import Tracing
from app.http.openapi import correct_openapi
from app.http.picture_router import PictureRouter
from app.http.problems import add_error_handlers
from app.http.routes import batch, explain, health, infer, open_inference, pages, predict, read
from app.http.state import ServiceState
from app.imaging.ink import limit_opencv_threads
from app.inference.admission import Admission
from app.inference.cpu import available_cores, lower_thread_priority
from app.inference.engine_health import EngineHealth
from app.inference.hot_reload import HotReloader, ReloadReport
from app.inference.loaded_model import LoadedModel, ModelOptions, load_model
from app.observability.logging import AccessLog
from app.observability.metrics import Metrics
from app.observability.tracing import close_provider
from app.server.client_address import ClientFinder
from app.server.direct_answers import DirectAnswers
from app.server.load_shedding import LoadShedder
from app.server.sighup import SighupHandler
from app.settings import Settings

if TYPE_CHECKING:  # not in the base install
    from opentelemetry.sdk.trace import TracerProvider

logger = logging.getLogger(__name__)

FLUSH_INTERVAL_S = 0.5  # between two updates of the metrics
EXPOSED_HEADERS = ["X-Request-ID", "Server-Timing", "Retry-After"]  # readable by pages of other origins


class LifespanState(TypedDict):
    """What the lifespan passes to the server and, in ``request.state``, to each request."""

    service: ServiceState
    load_shedder: LoadShedder | None  # these two pass the middleware by: None if it must see every request
    direct_answers: DirectAnswers | None


def create_app(settings: Settings, tracer_provider: "TracerProvider | None" = None) -> ASGIApp:
    """Create the service. The model is loaded when the app starts, not here.

    Args:
        settings: The settings, read once by the caller.
        tracer_provider: Traces each request if given. It is shut down with the app.

    Raises:
        StartupError: A setting names a file that cannot be used.
    """
    metrics = Metrics()
    # Standard output is None if the process was started without one.
    log = AccessLog(sys.__stdout__) if sys.__stdout__ and settings.log_level in ("info", "debug") else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[LifespanState]:
        engine_health = EngineHealth(
            lambda: service.model.read_golden_digits(), settings.fault_s, end_process, on_change=metrics.ready.set
        )
        load = partial(
            load_model, settings.model, model_options(settings), engine_health.report_failure, metrics.observe_batch
        )
        model = load()
        await model.scheduler.open()
        metrics.forget_dead_workers()
        count_model(metrics, model)
        limit_opencv_threads(settings.threads)
        admission = Admission(settings.max_inflight, settings.max_inflight_pixels, settings.max_inflight_bytes)
        threads = max(1, available_cores() // settings.workers)
        with ThreadPoolExecutor(threads, thread_name_prefix="pictures", initializer=lower_thread_priority) as pool:
            service = ServiceState(settings, model, admission, pool, metrics, engine_health)
            find_client = ClientFinder(settings.forwarded_allow_ips)
            shedder = LoadShedder(admission, metrics, log, find_client)
            direct_answers = DirectAnswers(service, log, find_client, shedder, auth, with_pictures=not tracer_provider)

            def swap(new: LoadedModel) -> None:
                service.model = new
                count_model(metrics, new)

            def report(reload: ReloadReport) -> None:
                service.last_reload = reload
                metrics.count_reload(reload.outcome)

            reloader = HotReloader(model, load, swap, report)
            SighupHandler(reloader.request).install()
            flushing = asyncio.create_task(flush_metrics(service))
            metrics.ready.set(1)
            logger.info("%s is ready on %s (%s)", model.id, model.engine.name, model.engine.device)
            try:
                # The CORS middleware must see every response: otherwise browsers hide it from pages of other origins.
                yield {
                    "service": service,
                    "load_shedder": None if settings.cors_origins else shedder,
                    "direct_answers": None if settings.cors_origins else direct_answers,
                }
            finally:
                flushing.cancel()
                await reloader.close()
                await engine_health.close()
                await service.model.scheduler.close()
                metrics.flush()
                if tracer_provider:
                    await close_provider(tracer_provider)
                if log:
                    log.close()

    service_app = FastAPI(
        title="digitserve",
        version=app.__version__,
        summary="Reads handwritten digits, and says when it is not sure.",
        openapi_url=None,  # routes/pages.py serves the document, and the pages from local files
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would go to whatever host the request names
        lifespan=lifespan,
        # FastAPI's telemetry would include query strings, and miss the requests of our own router.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    service_app.add_middleware(StartupErrors)
    service_app.add_middleware(Compression)
    add_error_handlers(service_app)
    for each in (health, open_inference, pages):
        service_app.include_router(each.router)
    service_app.mount("/assets", pages.ASSETS)
    picture_routes = [
        route
        for each in (predict, batch, read, explain, infer)
        for route in each.router.routes
        if isinstance(route, APIRoute)
    ]
    keys, open_paths = read_keys(settings.api_keys), list_open_paths(settings.open_metrics, settings.open_pages)
    correct_openapi(service_app, picture_routes, bool(keys), open_paths)
    wrapped: ASGIApp = Methods(PictureRouter(service_app, picture_routes))
    hosts = parse_list(settings.allowed_hosts)
    auth = Auth(wrapped, keys, hosts, open_paths, settings.open_pages) if keys or hosts else None
    wrapped = auth or wrapped
    if settings.cors_origins:  # outside Auth, because a browser's preflight request has no key
        origins = parse_list(settings.cors_origins)
        wrapped = CORSMiddleware(
            wrapped, origins, allow_methods=["*"], allow_headers=["*"], expose_headers=EXPOSED_HEADERS
        )
    if tracer_provider:
        wrapped = Tracing(wrapped, tracer_provider)
    return RequestLog(wrapped, metrics, log)


def model_options(settings: Settings) -> ModelOptions:
    """Return the settings that concern loading and scheduling a model."""
    return ModelOptions(
        engine=settings.engine,
        device=settings.device,
        threads=settings.threads,
        network=settings.network,
        workers=settings.workers,
        max_batch=settings.batch_max,
        batch_wait_s=settings.batch_wait_ms / 1000,
        max_waiting=settings.max_inflight,
        max_bulk=8 * settings.max_batch,
    )


def count_model(metrics: Metrics, model: LoadedModel) -> None:
    """Set the metrics that say which model the service uses."""
    metrics.set_model(model.name, model.version, model.folder.sha256, model.folder.manifest.reference)


def end_process(status: int) -> None:
    """End the process at once, but not before the log says why."""
    logging.shutdown()
    os._exit(status)


async def flush_metrics(service: ServiceState) -> None:
    """Update the metrics regularly, because each worker reports the metrics of all workers."""
    while True:
        try:
            service.update_queue_size()
            service.metrics.flush()
        except Exception:
            logger.exception("the metrics could not be updated")
        await asyncio.sleep(FLUSH_INTERVAL_S)
