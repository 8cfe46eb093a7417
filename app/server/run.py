"""Runs the service with uvicorn, in this process or in several worker processes."""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from logging.config import dictConfig
from typing import Any

import uvicorn

from app.observability.logging import log_config
from app.server.descriptors import limit_connections
from app.server.http_protocol import HttpProtocol
from app.server.stages import ReceiveTimeouts
from app.server.uvicorn_server import Server
from app.server.workers import Supervisor
from app.settings import Settings

WORKER_APP = "app.main:from_environment"  # creates the app in a worker process


def run(settings: Settings, create: Callable[[], Any]) -> int:
    """Serve until a signal stops the service.

    Args:
        settings: How to serve.
        create: Creates the app. Worker processes create it themselves.

    Returns:
        The exit status of the process.
    """
    # Pillow warns about oddities in files that it decodes anyway. No part of an upload may appear in the log.
    warnings.filterwarnings("ignore", module="PIL")
    options = server_options(settings)
    drain_s, grace_s = settings.drain_ms / 1000, settings.grace_s
    if settings.workers > 1:
        with share_with_workers(settings):
            config = uvicorn.Config(WORKER_APP, factory=True, workers=settings.workers, **options)
            supervisor = Supervisor(config, [config.bind_socket()], drain_s, grace_s)
            supervisor.run()
        return supervisor.status
    dictConfig(options["log_config"])  # uvicorn does the same, but only after the first lines are logged
    server = Server(uvicorn.Config(create(), **options), drain_s, grace_s)
    with suppress(KeyboardInterrupt):
        server.run()
    return 0


def server_options(settings: Settings) -> dict[str, Any]:
    """Return the arguments for ``uvicorn.Config``."""
    timeouts = ReceiveTimeouts(settings.head_s, settings.body_s, settings.body_rate)
    return {
        "http": partial(HttpProtocol, timeouts=timeouts, max_connections=limit_connections(settings.max_connections)),
        "ws": "none",  # the service has no websockets; uvicorn would answer them without the request log
        "host": settings.host,
        "port": settings.port,
        "backlog": 65_535,  # or the system's limit; a client whose connection does not fit retries seconds later
        "log_config": log_config(settings.log_level),
        "access_log": False,  # the RequestLog middleware writes it
        "root_path": settings.root_path,
        "forwarded_allow_ips": settings.forwarded_allow_ips,
        "server_header": False,
    }


@contextmanager
def share_with_workers(settings: Settings) -> Iterator[None]:
    """Pass these settings to the worker processes, and give them a folder to add up their metrics in."""
    with tempfile.TemporaryDirectory(prefix="digitserve-") as folder:
        os.environ.update(settings.as_environment(), PROMETHEUS_MULTIPROC_DIR=folder)
        yield
