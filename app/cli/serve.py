"""``digitserve serve``: runs the service, in this process or in several workers."""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from logging.config import dictConfig
from multiprocessing.connection import Connection
from socket import socket

from app.cli.settings_flags import add_flags, read_settings
from app.errors import StartupError
from app.settings import Settings, describe_unknown_variables

logger = logging.getLogger(__name__)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "serve",
        help="run the service",
        description="Run the service. A flag takes precedence over the environment, then .env, then the default.",
    )
    add_flags(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the service until a signal stops it.

    Returns:
        The exit status of the process; 3 if the service could not start.

    Raises:
        StartupError: The service cannot start here, or with these settings.
        ValidationError: A setting is invalid.
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
    with open_listeners(settings.host, settings.port) as listeners:
        return serve_in_workers(settings, listeners) if settings.workers > 1 else serve(settings, listeners)


def serve(settings: Settings, listeners: Sequence[socket], pipe: int | None = None) -> int:
    """Serve in this process. ``pipe`` is the file descriptor of a worker's pipe to its supervisor."""
    # These imports take half a second, and neither ``digitserve --help`` nor a supervisor needs them.
    from app.main import create_app
    from app.observability.tracing import open_provider
    from app.server.run import run as run_server

    run_server(settings, create_app(settings, open_provider()), listeners, pipe)
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
