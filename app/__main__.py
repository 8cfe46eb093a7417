"""The command line: ``digitserve``, or ``python -m app``."""

import os
import sys
from collections.abc import Sequence

from app.cli.console import CANNOT_START, INCOMPLETE, INTERRUPTED, WRONG_USAGE, fail
from app.cli.parser import make_parser
from app.errors import CommandError, StartupError, UsageError, our_command


def main(values: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status. Without arguments, print the help."""
    try:
        try:
            return run((sys.argv[1:] if values is None else values) or ["--help"])
        finally:
            if sys.stdout:  # now: nobody could catch an error while Python shuts down
                sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe, so Python must not flush more into it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INCOMPLETE


def run(values: Sequence[str]) -> int:
    """Run a command and return its exit status, or the exit status of the error that ended it."""
    parser, _ = make_parser(our_command())
    arguments = parser.parse_args(values)
    if arguments.command is None:
        parser.error("the command is missing")
    try:
        status: int = arguments.run(arguments)
        return status
    except UsageError as error:
        return fail(WRONG_USAGE, str(error))
    except CommandError as error:
        return fail(INCOMPLETE, str(error))
    except StartupError as error:
        return fail(CANNOT_START, str(error))
    except KeyboardInterrupt:
        return fail(INTERRUPTED, "interrupted")


if __name__ == "__main__":
    sys.exit(main())
