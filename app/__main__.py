"""The command line: serve, predict, bench, info."""

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import app
from app import bench
from app.errors import DigitserveError, StartupError
from app.schemas import Prediction, Reading
from app.settings import Settings


def flags(parser: argparse.ArgumentParser, *names: str) -> None:
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

    predict = commands.add_parser("predict", help="read image files, without a service")
    predict.add_argument("files", nargs="+", type=Path, metavar="FILE", help="PNG, JPEG, WebP, BMP or GIF")
    predict.add_argument("--read", action="store_true", help="read a whole number from each, as POST /read does")
    predict.add_argument("--json", action="store_true", help="print one JSON object a file, as the service answers")
    flags(predict, "model", "engine", "device", "threads", "cascade", "max_pixels")

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
    """Run the service until it is told to stop. The exit status is 3 if it could not start."""
    import uvicorn

    from app.gate import read_keys
    from app.log import log_config
    from app.main import create_app
    from app.protocol import Patience, Protocol
    from app.server import Server
    from app.workers import Supervisor

    # Pillow warns, past the log, of what is odd in a file that it decodes all the same; of an upload, nothing is told.
    warnings.filterwarnings("ignore", module="PIL")
    patience = Patience(settings.head_s, settings.body_s, settings.body_rate, settings.max_connections)
    settled: dict[str, Any] = {
        "http": partial(Protocol, patience=patience),
        "host": settings.host,
        "port": settings.port,
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
    server = Server(uvicorn.Config(create_app(settings), **settled), *times)
    with suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else 3


@contextmanager
def shared_by_workers(settings: Settings) -> Iterator[None]:
    """Give the workers to come these settings, and a folder in which their counts are added up."""
    with tempfile.TemporaryDirectory(prefix="digitserve-") as folder:
        os.environ.update(settings.as_environment(), PROMETHEUS_MULTIPROC_DIR=folder)
        yield


def predict(settings: Settings, files: Sequence[Path], whole_numbers: bool, as_json: bool) -> int:
    """Read image files, one line each. The exit status is 1 if any could not be read."""
    from app import bundle
    from app.classifier import answer, prepare, score
    from app.engine import open_engine

    model = bundle.load(settings.model)
    engine = open_engine(model, settings.engine, settings.device, settings.threads, settings.network)
    thresholds = model.manifest.thresholds(engine.name, settings.network)

    def read(data: bytes) -> Prediction | Reading:
        if whole_numbers:
            from app import reader  # and with it OpenCV

            return reader.read(data, settings.max_pixels, engine, thresholds, model.manifest.id)
        picture = prepare(data, settings.max_pixels)
        scored = None if picture.blank else score(engine, [picture.pixels])[0]
        return answer(picture, scored, thresholds, model.manifest.id)

    failed = False
    for file in files:
        try:
            result = read(file.read_bytes())
        except (OSError, DigitserveError) as error:
            failed = True
            reason = error.strerror if isinstance(error, OSError) else error
            print(f"{file}: {reason}", file=sys.stderr)
            continue
        if as_json:
            print(json.dumps({"file": str(file), **result.model_dump(exclude_unset=True)}))
        else:
            print(f"{file}: {in_words(result)}")
    return int(failed)


def in_words(result: Prediction | Reading) -> str:
    """An answer in a line."""
    if result.confidence is None:
        return f"nothing ({result.reason})"
    read = result.digit if isinstance(result, Prediction) else " ".join(line.text for line in result.lines)
    doubt = "" if result.accepted else f"  not accepted: {result.reason}"
    return f"{read}  {result.confidence:.2%}{doubt}"


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
        files, whole_numbers, as_json = values.pop("files", []), values.pop("read", False), values.pop("json", False)
        settings = Settings(**values)
        if command == "serve":
            return serve(settings)
        if command == "predict":
            return predict(settings, files, whole_numbers, as_json)
        return info(settings)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            name = ".".join(str(part) for part in fault["loc"])
            print(f"digitserve: setting {name} (DIGITS_{name.upper()}): {fault['msg']}", file=sys.stderr)
        return 2
    except StartupError as error:
        print(f"digitserve: {error}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
