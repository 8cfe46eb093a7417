"""Runs the service with uvicorn in this process."""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from socket import socket
from typing import Any

import uvicorn

from app.server.descriptors import limit_connections
from app.server.http_protocol import HttpProtocol
from app.server.read_queue import ReadQueue
from app.server.stages import ReceiveTimeouts
from app.server.uvicorn_server import Server
from app.settings import Settings


def run(settings: Settings, service: Any, listeners: Sequence[socket], pipe: int | None = None) -> None:
    """Serve until a signal stops the service.

    Args:
        settings: How to serve.
        service: The ASGI app.
        listeners: The sockets to listen on.
        pipe: File descriptor of a worker's pipe to its supervisor.
    """
    # Pillow warns about oddities in files that it decodes anyway. No part of an upload may appear in the log.
    warnings.filterwarnings("ignore", module="PIL")
    config = uvicorn.Config(service, **server_options(settings))
    with suppress(KeyboardInterrupt):
        Server(config, settings.drain_ms / 1000, settings.grace_s, pipe).run(list(listeners))


def server_options(settings: Settings) -> dict[str, Any]:
    """Return the arguments for ``uvicorn.Config``."""
    timeouts = ReceiveTimeouts(settings.head_s, settings.body_s, settings.body_rate)
    return {
        "http": partial(
            HttpProtocol,
            timeouts=timeouts,
            max_connections=limit_connections(settings.max_connections),
            read_queue=ReadQueue(settings.max_inflight),
        ),
        "ws": "none",  # the service has no websockets; uvicorn would answer them without the request log
        "backlog": 65_535,  # or the system's limit; a client whose connection does not fit retries seconds later
        "timeout_keep_alive": settings.keep_alive_s,
        "log_config": None,  # configured already
        "access_log": False,  # the RequestLog middleware writes it
        "root_path": settings.root_path,
        "forwarded_allow_ips": settings.forwarded_allow_ips,
        "server_header": False,
    }
