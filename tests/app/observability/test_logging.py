"""The log: JSON for programs, text on a terminal, and nothing of an upload."""

import asyncio
import io
import json
import logging
import re
import sys

import httpx

from app.http.middleware.request_log import RequestLog
from app.main import create_app
from app.observability.logging import MAX_PATH_CHARACTERS, AccessLog, JsonFormatter
from app.settings import Settings
from tests.support.pictures import Grey, png
from tests.support.running import Server


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def write_lines(stream: io.StringIO, *paths: str) -> list[str]:
    """Write a line for each path in one iteration of an event loop, and return the lines."""

    async def write() -> None:
        log = AccessLog(stream)
        for path in paths:
            log.write("127.0.0.1", "POST", path, 200, 0.0012, "r1")
        assert stream.getvalue() == ""  # all lines are written in the next iteration
        await asyncio.sleep(0)

    asyncio.run(write())
    return stream.getvalue().splitlines()


def test_a_request_is_one_json_object() -> None:
    """It has the time, client, method, path, status, milliseconds and ID. Any path stays on one line."""
    hostile = '/a"b\n{}\x00\u2028é'
    first, second = (json.loads(line) for line in write_lines(io.StringIO(), "/predict", hostile))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {
        "level": "info",
        "logger": "access",
        "client": "127.0.0.1",
        "method": "POST",
        "path": "/predict",
        "status": 200,
        "ms": 1.2,
        "request_id": "r1",
    }
    assert second["path"] == hostile


def test_a_terminal_gets_text() -> None:
    """It is one readable line, without control characters from the client."""
    line, hostile = write_lines(Terminal(), "/predict", "/\x1b[31m")
    assert line.endswith('127.0.0.1 POST "/predict" 200 1.2 ms r1')
    assert "\x1b" not in hostile


def test_a_long_path_is_cut() -> None:
    """A client cannot make a line longer than that."""
    (line,) = write_lines(io.StringIO(), "/" + "x" * 10_000)
    assert len(json.loads(line)["path"]) == MAX_PATH_CHARACTERS


def test_records_of_the_standard_library_are_json_too() -> None:
    """Lines of uvicorn and ours have the same format. An exception is part of its line."""
    try:
        raise ZeroDivisionError("oh")
    except ZeroDivisionError:
        record = logging.LogRecord("app", logging.ERROR, __file__, 1, "It %s.", ("broke",), sys.exc_info())
    text = JsonFormatter().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["logger"], line["message"]) == ("error", "app", "It broke.")
    assert "ZeroDivisionError: oh" in line["exception"]


def test_every_line_of_a_server_is_json_without_anything_of_an_upload(server: Server, seven: Grey) -> None:
    """Each line since the start can be parsed. None has a query, a file name, a content type or content."""
    form = {"file": ("canary-name.png", png(seven))}
    httpx.post(f"{server.url}/predict?canary=query", files=form, headers={"X-Request-ID": "r-17"})
    httpx.post(f"{server.url}/predict", content=b"canary-content", headers={"Content-Type": "canary/type"})
    httpx.post(f"{server.url}/predict", json={"image": "canary-base64"}, headers={"X-Request-ID": "the-last"})
    log = server.wait_for_log("the-last")
    lines = [json.loads(line) for line in log.splitlines()]
    answered = [(line["path"], line["status"]) for line in lines if line["logger"] == "access"]
    assert answered[-3:] == [("/predict", 200), ("/predict", 415), ("/predict", 400)]
    assert "r-17" in {line.get("request_id") for line in lines}
    assert "canary" not in log


def test_requests_are_logged_only_at_info() -> None:
    """With DIGITS_LOG_LEVEL=warning there are no lines for requests."""
    for settings, is_logged in ((Settings(log_level="info"), True), (Settings(log_level="warning"), False)):
        app = create_app(settings)
        assert isinstance(app, RequestLog)
        assert (app.log is not None) == is_logged
