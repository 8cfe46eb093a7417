"""The log: readable text on a terminal, otherwise one JSON object per line. It never contains anything of an upload.

The access log does not use the standard library's logging, because a ``LogRecord`` costs as much as reading a digit.
Both go on if nobody reads it.
"""

import json
import logging
import sys
import time
from functools import lru_cache
from typing import Any, TextIO

from app.observability.line_writer import LineWriter

MAX_PATH_CHARACTERS = 200  # of a path in the log


class JsonFormatter(logging.Formatter):
    """Formats a record of the standard library as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": format_time(record.created),
            "level": record.levelname.lower(),
            "logger": "uvicorn" if record.name == "uvicorn.error" else record.name,  # its name for all its lines
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class TextFormatter(logging.Formatter):
    """Formats a record for a person at a terminal. Only warnings and errors show their level."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname}: " if record.levelno > logging.INFO else ""
        return level + super().format(record)


class LineHandler(logging.Handler):
    """A handler of the standard library that never waits for the reader of standard error."""

    def __init__(self) -> None:
        super().__init__()
        self._writer = LineWriter(sys.stderr.fileno())

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            self._writer.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Write the records that wait. ``logging.shutdown`` calls this, at the end of the process if not before."""
        self._writer.close()
        super().close()


def log_config(level: str) -> dict[str, Any]:
    """Return the configuration of the standard library's logging, for our loggers and uvicorn's alike."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": JsonFormatter},
            "text": {"()": TextFormatter},
        },
        "handlers": {
            "stderr": {
                "()": LineHandler,
                "formatter": "text" if sys.stderr.isatty() else "json",
            }
        },
        "loggers": {
            **{
                name: {"handlers": ["stderr"], "level": level.upper(), "propagate": False}
                for name in ("app", "uvicorn")
            },
            # These two report faults in a body. Our answer names them already.
            "python_multipart": {"level": "CRITICAL"},
            "PIL": {"level": "CRITICAL"},
        },
        # All other loggers: only warnings and errors, in the same format.
        "root": {"handlers": ["stderr"], "level": level.upper() if level in ("error", "critical") else "WARNING"},
    }


class AccessLog:
    """Writes a line for each request to a stream, past the stream's own buffer."""

    def __init__(self, stream: TextIO) -> None:
        self._as_text = stream.isatty()
        self._writer = LineWriter(stream.fileno())

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
        """Write the line of a request.

        Args:
            client: Its address.
            method: Any text.
            path: Any text. It is cut after ``MAX_PATH_CHARACTERS``.
            status: Of the answer.
            seconds: How long the request took.
            request_id: A token that needs no escaping.
            trace_id: Likewise, if the request is traced.
        """
        now = time.time()
        trace = ""
        if trace_id:
            trace = f" {trace_id}" if self._as_text else f', "trace_id": "{trace_id}"'
        if self._as_text:
            line = (
                f"{format_time(now)} {client} {method} {quote(path)} {status} {seconds * 1e3:.1f} ms "
                f"{request_id}{trace}\n"
            )
        else:
            line = (
                f'{{"time": "{format_time(now)}", "level": "info", "logger": "access", "client": {quote(client)}, '
                f'"method": {quote(method)}, "path": {quote(path)}, "status": {status}, "ms": {seconds * 1e3:.3f}, '
                f'"request_id": "{request_id}"{trace}}}\n'
            )
        self._writer.write(line)

    def close(self) -> None:
        """Write the lines that wait."""
        self._writer.close()


def format_time(seconds: float) -> str:
    """Format a Unix time as ISO 8601 in UTC, with milliseconds."""
    whole_seconds = int(seconds)
    return f"{format_whole_seconds(whole_seconds)}.{int((seconds - whole_seconds) * 1000):03d}Z"


@lru_cache(maxsize=4)
def format_whole_seconds(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


@lru_cache(maxsize=256)
def quote(text: str) -> str:
    """Quote a text as a JSON string of printable ASCII, cut to a useful length."""
    return json.dumps(text[:MAX_PATH_CHARACTERS])
