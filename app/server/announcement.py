"""What the service says when it is ready: a line of the log, or on a terminal a frame with the addresses to open."""

import sys
from collections.abc import Sequence
from socket import socket

from app.server.listeners import describe

REACHED_AS_LOCALHOST = ("127.0.0.1", "0.0.0.0", "::1", "::")


def announce(listeners: Sequence[socket], workers: int = 1) -> str:
    """Return the message for the log."""
    if not sys.stderr.isatty():
        running = f"running on {describe(listeners)}"
        return f"{running} with {workers} workers" if workers > 1 else f"{running} (Ctrl-C stops it)"
    host, port = listeners[0].getsockname()[:2]
    url = f"http://localhost:{port}" if host in REACHED_AS_LOCALHOST else describe(listeners)
    return frame([f"digitserve is ready: {url}/", f"docs: {url}/docs", "Ctrl-C stops it"])


def frame(lines: Sequence[str]) -> str:
    """Draw a frame around lines."""
    width = max(map(len, lines))
    return "\n".join([f"╭{'─' * (width + 2)}╮", *(f"│ {line:<{width}} │" for line in lines), f"╰{'─' * (width + 2)}╯"])
