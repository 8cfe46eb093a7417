"""The command line: serve, predict, bench, info."""

import argparse
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from pydantic import ValidationError

import app
from app import bench, predict
from app.errors import StartupError
from app.settings import Settings


def flags(parser: "argparse.ArgumentParser | argparse._ArgumentGroup", *names: str) -> None:
    """Add a flag for each of these settings, or for every one. What is not given falls to the environment."""
    for name, field in Settings.model_fields.items():
        if not names or name in names:
            default = "the released model" if name == "model" else field.default
            parser.add_argument(
                f"--{name.replace('_', '-')}",
                dest=name,
                default=argparse.SUPPRESS,
                metavar="VALUE",
                help=f"{field.description} [DIGITS_{name.upper()}, default: {default!s}]".replace("%", "%%"),
            )


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="digitserve",
        description="Reads handwritten digits: as a service, or from the command line.",
    )
    parser.add_argument("--version", action="version", version=f"digitserve {app.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve",
        help="run the service",
        description="Run the service. A flag wins over the environment, that over .env, that over the default.",
    )
    flags(serve)

    reading = commands.add_parser("predict", help="read image files, here or by a running service")
    flags(predict.add_arguments(reading), "model", "engine", "device", "threads", "cascade", "max_pixels")

    load = commands.add_parser(
        "bench",
        help="measure a running service",
        description="Send a running service pictures of digits, and tell how fast it answers.",
    )
    bench.add_arguments(load)

    info = commands.add_parser("info", help="print what runs, as /info answers")
    flags(info, "model", "engine", "device", "threads", "cascade")
    return parser


def serve(settings: Settings) -> int:
    """Run the service until it is told to stop. The process ends with 3 if it could not start."""
    from logging.config import dictConfig

    import uvicorn

    from app.gate import read_keys
    from app.log import log_config
    from app.main import create_app
    from app.protocol import Patience, Protocol
    from app.server import Server
    from app.tracing import open_provider
    from app.workers import Supervisor

    # Pillow warns, past the log, of what is odd in a file that it decodes all the same; of an upload, nothing is told.
    warnings.filterwarnings("ignore", module="PIL")
    patience = Patience(settings.head_s, settings.body_s, settings.body_rate, settings.max_connections)
    settled: dict[str, Any] = {
        "http": partial(Protocol, patience=patience),
        "ws": "none",  # there are no websockets here, and uvicorn's would answer past Observe
        "host": settings.host,
        "port": settings.port,
        "backlog": 65_535,  # or what the system allows: one that finds no room to wait is made a second later, or three
        "log_config": log_config(settings.log_level),
        "access_log": False,  # Observe writes a line for each request
        "root_path": settings.root_path,
        "forwarded_allow_ips": settings.forwarded_allow_ips,
        "server_header": False,
    }
    times = settings.drain_ms / 1000, settings.grace_s
    if settings.workers > 1:  # each a process that makes the app for itself
        read_keys(settings.api_keys)  # what is wrong with them is told once
        with shared_by_workers(settings):
            config = uvicorn.Config("app.main:from_environment", factory=True, workers=settings.workers, **settled)
            supervisor = Supervisor(config, [config.bind_socket()], *times)
            supervisor.run()
        return supervisor.status
    dictConfig(settled["log_config"])  # as uvicorn will, for what is told before
    server = Server(uvicorn.Config(create_app(settings, open_provider()), **settled), *times)
    with suppress(KeyboardInterrupt):
        server.run()
    return 0


@contextmanager
def shared_by_workers(settings: Settings) -> Iterator[None]:
    """Give the workers to come these settings, and a folder in which their counts are added up."""
    with tempfile.TemporaryDirectory(prefix="digitserve-") as folder:
        os.environ.update(settings.as_environment(), PROMETHEUS_MULTIPROC_DIR=folder)
        yield


def info(settings: Settings) -> int:
    """Print what runs here."""
    from app import bundle
    from app.engine import open_engine
    from app.serving import describe

    model = bundle.load(settings.model)
    engine = open_engine(model, settings.engine, settings.device, settings.threads, settings.network)
    print(describe(settings, model, engine).model_dump_json(indent=2))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    given = make_parser().parse_args(arguments)
    values = vars(given)
    command = values.pop("command")
    try:
        if command == "bench":
            return bench.run(given)
        if command == "predict":
            return predict.run(given)
        settings = Settings(**values)
        return serve(settings) if command == "serve" else info(settings)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            name = ".".join(str(part) for part in fault["loc"])
            print(f"digitserve: setting {name} (DIGITS_{name.upper()}): {fault['msg']}", file=sys.stderr)
        return 2
    except StartupError as error:
        print(f"digitserve: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:  # before there is anything to end in order
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
