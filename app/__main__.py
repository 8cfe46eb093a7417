"""The command line: ``digitserve``, or ``python -m app``."""

import argparse
import signal
import sys
from collections.abc import Sequence

from pydantic import ValidationError

import app
from app.cli import bench, info, predict, serve
from app.cli.console import fail
from app.errors import StartupError


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands. Each sets ``run``, which maps its arguments to an exit status."""
    parser = argparse.ArgumentParser(
        prog="digitserve", description="Reads handwritten digits, as a service or from the command line."
    )
    parser.add_argument("--version", action="version", version=f"digitserve {app.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (serve, predict, bench, info):
        command.add_parser(commands)
    return parser


def main(values: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    arguments = make_parser().parse_args(values)
    try:
        status: int = arguments.run(arguments)
        return status
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            name = ".".join(str(part) for part in fault["loc"])
            where = f"setting {name} (DIGITS_{name.upper()}): " if name else ""  # some concern two settings
            fail(2, where + fault["msg"].removeprefix("Value error, "))
        return 2
    except StartupError as error:
        return fail(3, str(error))
    except KeyboardInterrupt:  # before the command handles it
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
