"""Messages to the person at the terminal, and the exit status of every command."""

import sys
from urllib.parse import urlsplit

from app.errors import ServiceError, our_command

OK = 0
INCOMPLETE = 1
WRONG_USAGE = 2
CANNOT_START = 3
INTERRUPTED = 130  # 128 + SIGINT, as shells count

EXIT_STATUS = """\
exit status:
  0    everything was done; serve also after Ctrl-C
  1    something was not done: a file was not read, a request was not answered,
       or the service or the reader of the output went away
  2    the command line or a setting is wrong
  3    the model cannot be loaded, or the service cannot start
  70   serve: the engine kept failing for DIGITS_FAULT_S
  130  Ctrl-C, except in serve
"""


def fail(status: int, reason: str) -> int:
    """Print why a command failed, and return its exit status."""
    note(reason)
    return status


def note(text: str) -> None:
    """Print lines to standard error, where they do not mix with results."""
    for line in text.splitlines():
        print(f"digitserve: {line}", file=sys.stderr)


def no_connection(url: str, reason: str) -> ServiceError:
    """Return the error that nothing answers at an address. If that is here, it says how to start the service."""
    parts = urlsplit(url)
    is_here = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    advice = f". To start the service there: {our_command()} serve --port {parts.port or 80}" if is_here else ""
    return ServiceError(f"no connection to {url}: {reason}{advice}")
