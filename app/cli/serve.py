"""``digitserve serve``: runs the service, in this process or in several workers."""

import argparse
import gc
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from logging.config import dictConfig
from multiprocessing.connection import Connection
from socket import socket

from app.cli.parser import Parser
from app.cli.settings_flags import GROUPS, add_flags, read_settings
from app.errors import PortInUseError, StartupError
from app.settings import Settings, describe_unknown_variables

logger = logging.getLogger(__name__)

MAX_PORT = 65_535


def add_arguments(parser: Parser) -> None:
    """Add the command's arguments."""
    parser.usage = "%(prog)s [flags]"
    parser.description = "Run the service. A flag overrides the environment, then .env, then the default."
    for title, names in GROUPS.items():
        add_flags(parser.add_argument_group(title), *names)


def run(arguments: argparse.Namespace) -> int:
    """Run the service until a signal stops it.

    Returns:
        The exit status of the process; 3 if no worker could start.

    Raises:
        StartupError: The service cannot start here, or with these settings.
        UsageError: A setting is invalid.
    """
    settings = read_settings(arguments)
    try:
        import fcntl  # noqa: F401  # with it come all the system calls that the server needs
    except ModuleNotFoundError:
        raise StartupError("serve needs Linux or macOS. On Windows, run it in WSL or as a container") from None

    from app.observability.logging import log_config
    from app.server.listeners import open_listeners

    dictConfig(log_config(settings.log_level))
    for line in describe_unknown_variables():
        logger.warning("%s", line)
    try:
        with open_listeners(settings.host, settings.port) as listeners:
            return serve_in_workers(settings, listeners) if settings.workers > 1 else serve(settings, listeners)
    except PortInUseError as error:
        port = find_free_port(settings.host, settings.port + 1)
        raise StartupError(f"{error}. Port {port} is free: set DIGITS_PORT={port}, or use --port {port}") from None


def find_free_port(host: str, first: int) -> int:
    """Return the first free port of a host from a number on, or 0, which lets the system choose."""
    from app.server.listeners import open_listeners

    for port in range(first, MAX_PORT + 1):
        with suppress(PortInUseError), open_listeners(host, port):
            return port
    return 0


def serve(settings: Settings, listeners: Sequence[socket], pipe: int | None = None) -> int:
    """Serve in this process. ``pipe`` is the file descriptor of a worker's pipe to its supervisor."""
    # These imports take half a second. Neither ``digitserve --help`` nor a supervisor needs them. They make hundreds
    # of thousands of objects that stay. Looking through them for garbage again and again would take 0.1 s more.
    gc.disable()
    from app.main import create_app
    from app.observability.tracing import open_provider
    from app.server.run import run as run_server

    service = create_app(settings, open_provider())
    gc.freeze()
    gc.enable()
    run_server(settings, service, listeners, pipe)
    return 0


def serve_in_workers(settings: Settings, listeners: Sequence[socket]) -> int:
    """Supervise workers that serve."""
    from app.server.workers import Supervisor

    try:
        folder = tempfile.TemporaryDirectory(prefix="digitserve-")  # in which workers add up their metrics
    except OSError as error:
        raise StartupError(f"workers need a folder for temporary files, such as /tmp: {error.strerror}") from None
    with folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder.name
        return Supervisor(
            partial(serve_as_worker, settings, listeners),
            settings.workers,
            listeners,
            settings.worker_timeout_s,
            settings.drain_ms / 1000,
            settings.grace_s,
        ).run()


def serve_as_worker(settings: Settings, listeners: Sequence[socket], pipe: Connection) -> None:
    """Serve in a worker process."""
    from app.observability.logging import log_config
    from app.server.workers import STARTUP_FAILURE

    dictConfig(log_config(settings.log_level))
    try:
        sys.exit(serve(settings, listeners, pipe.fileno()))
    except StartupError as error:
        logger.error("%s", error)
        sys.exit(STARTUP_FAILURE)
