"""The log: readable on a terminal, one JSON object a line anywhere else; nothing of an upload in either.

The line of a request is written past the standard library's logging, whose record costs as much as reading a digit;
lines of one turn of the event loop are written at once.
"""

import asyncio
import json
import logging
import sys
import time
from contextlib import suppress
from functools import lru_cache
from typing import Any, TextIO

MAX_PATH_CHARACTERS = 200  # of a path in the log


class JsonFormatter(logging.Formatter):
    """A record of the standard library as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_config(level: str) -> dict[str, Any]:
    """How the standard library logs, for us and uvicorn alike."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": JsonFormatter},
            "text": {"()": "uvicorn.logging.DefaultFormatter", "fmt": "%(levelprefix)s %(message)s"},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "text" if sys.stderr.isatty() else "json",
            }
        },
        "loggers": {
            **{
                name: {"handlers": ["stderr"], "level": level.upper(), "propagate": False}
                for name in ("app", "uvicorn")
            },
            "python_multipart": {"level": "CRITICAL"},  # it warns of what is in a body, whose sender is told
        },
        # Of all others what is amiss, in the same form.
        "root": {"handlers": ["stderr"], "level": level.upper() if level in ("error", "critical") else "WARNING"},
    }


class AccessLog:
    """Writes a line for each request."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._as_text = self._stream.isatty()
        self._lines: list[str] = []

    def write(
        self,
        client: str,
        method: str,
        path: str,
        status: int,
        seconds: float,
        request_id: str,
        trace_id: str | None = None,
    ) -> None:
        """Write the line of one request; its ids must be sane tokens. It is on its way when the loop next turns."""
        now = time.time()
        trace = ""
        if trace_id:
            trace = f" {trace_id}" if self._as_text else f', "trace_id": "{trace_id}"'
        if self._as_text:
            line = (
                f"{timestamp(now)} {client} {method} {quoted(path)} {status} {seconds * 1e3:.1f} ms "
                f"{request_id}{trace}\n"
            )
        else:
            line = (
                f'{{"time": "{timestamp(now)}", "level": "info", "logger": "access", "client": {quoted(client)}, '
                f'"method": {quoted(method)}, "path": {quoted(path)}, "status": {status}, "ms": {seconds * 1e3:.3f}, '
                f'"request_id": "{request_id}"{trace}}}\n'
            )
        if not self._lines:
            asyncio.get_running_loop().call_soon(self.flush)
        self._lines.append(line)

    def flush(self) -> None:
        """Write what has gathered. What cannot be written, for the disk is full, is lost, and nobody waits for it."""
        if self._lines:
            lines, self._lines = self._lines, []
            with suppress(OSError):
                self._stream.write("".join(lines))
                self._stream.flush()


def timestamp(seconds: float) -> str:
    """ISO 8601, UTC, with milliseconds."""
    whole = int(seconds)
    return f"{to_the_second(whole)}.{int((seconds - whole) * 1000):03d}Z"


@lru_cache(maxsize=4)
def to_the_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


@lru_cache(maxsize=256)
def quoted(text: str) -> str:
    """A JSON string of printable ASCII, and no longer than is of use."""
    return json.dumps(text[:MAX_PATH_CHARACTERS])
