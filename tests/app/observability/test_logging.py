"""The log: JSON where a program reads it, text where a person does, and nothing of an upload."""

import asyncio
import io
import json
import logging
import re
import sys

import httpx

from app.observability.logging import LONGEST, AccessLog, JsonFormatter
from app.main import create_app
from app.http.middleware.request_log import Observe
from app.settings import Settings
from tests.support.pictures import Grey, png
from tests.support.running import running


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(stream: io.StringIO, *paths: str) -> list[str]:
    """Write a line for each path in one turn of a loop."""

    async def write() -> None:
        log = AccessLog(stream)
        for path in paths:
            log.write("127.0.0.1", "POST", path, 200, 0.0012, "r1")
        assert stream.getvalue() == ""  # gathered, and written at the turn's end
        await asyncio.sleep(0)

    asyncio.run(write())
    return stream.getvalue().splitlines()


def test_a_request_is_one_json_object() -> None:
    """Time, client, method, path, status, milliseconds, id; whatever is in the path, it stays one line."""
    hostile = '/a"b\n{}\x00\u2028é'
    first, second = (json.loads(line) for line in written(io.StringIO(), "/predict", hostile))
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
    """One readable line, with no control characters of a client's in it."""
    line, hostile = written(Terminal(), "/predict", "/\x1b[31m")
    assert line.endswith('127.0.0.1 POST "/predict" 200 1.2 ms r1')
    assert "\x1b" not in hostile


def test_a_long_path_is_cut() -> None:
    """No client decides how long a line is."""
    (line,) = written(io.StringIO(), "/" + "x" * 10_000)
    assert len(json.loads(line)["path"]) == LONGEST


def test_records_of_the_standard_library_are_json_too() -> None:
    """uvicorn's lines and ours have the same form, an exception within its own line."""
    try:
        raise ZeroDivisionError("oh")
    except ZeroDivisionError:
        record = logging.LogRecord("app", logging.ERROR, __file__, 1, "It %s.", ("broke",), sys.exc_info())
    text = JsonFormatter().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["logger"], line["message"]) == ("error", "app", "It broke.")
    assert "ZeroDivisionError: oh" in line["exception"]


def test_every_line_of_a_real_server_is_json_and_tells_nothing_of_an_upload(seven: Grey) -> None:
    """Start, requests good and bad, stop: each line parses; no query, no file name, no content is in them."""
    with running() as server:
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


def test_requests_are_told_of_at_info_alone() -> None:
    """DIGITS_LOG_LEVEL=warning leaves out the line of each request."""
    for settings, told in ((Settings(log_level="info"), True), (Settings(log_level="warning"), False)):
        app = create_app(settings)
        assert isinstance(app, Observe)
        assert (app.log is not None) == told
