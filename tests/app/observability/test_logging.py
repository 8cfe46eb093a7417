"""The log: JSON for programs, text on a terminal, and nothing of an upload."""

import fcntl
import json
import logging
import os
import pty
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx

from app.http.middleware.request_log import RequestLog
from app.main import create_app
from app.observability.line_writer import MAX_LINES, LineWriter
from app.observability.logging import MAX_PATH_CHARACTERS, AccessLog, JsonFormatter
from app.settings import Settings
from tests.support.hostile import get, talk
from tests.support.pictures import Grey, png
from tests.support.ports import free_port
from tests.support.running import METRICS_DELAY_S, ROOT, Server, clean_environment


def write_lines(*paths: str, terminal: bool = False) -> list[str]:
    """Write a line for each path to a pipe or a terminal, and return the lines."""
    reader, writer = pty.openpty() if terminal else os.pipe()
    with os.fdopen(writer, "w") as stream:
        log = AccessLog(stream)
        for path in paths:
            log.write("127.0.0.1", "POST", path, 200, 0.0012, "r1")
        log.close()
        text = os.read(reader, 65_536).decode()
    os.close(reader)
    return text.splitlines()


def test_a_request_is_one_json_object() -> None:
    """It has the time, client, method, path, status, milliseconds and ID. Any path stays on one line."""
    hostile = '/a"b\n{}\x00\u2028é'
    first, second = (json.loads(line) for line in write_lines("/predict", hostile))
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
    line, hostile = write_lines("/predict", "/\x1b[31m", terminal=True)
    assert line.endswith('127.0.0.1 POST "/predict" 200 1.2 ms r1')
    assert "\x1b" not in hostile


def test_a_long_path_is_cut() -> None:
    """A client cannot make a line longer than that."""
    (line,) = write_lines("/" + "x" * 10_000)
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
    assert answered[-3:] == [("/predict", 400), ("/predict", 415), ("/predict", 400)]
    assert "r-17" in {line.get("request_id") for line in lines}
    assert "canary" not in log
    assert {line["logger"].partition(".")[0] for line in lines} == {"app", "access", "uvicorn"}
    assert "uvicorn.error" not in log  # uvicorn's name for all its messages


def test_requests_are_logged_only_at_info() -> None:
    """With DIGITS_LOG_LEVEL=warning there are no lines for requests."""
    for settings, is_logged in ((Settings(log_level="info"), True), (Settings(log_level="warning"), False)):
        app = create_app(settings)
        assert isinstance(app, RequestLog)
        assert (app.log is not None) == is_logged


def wait_until_ready(url: str) -> None:
    """Wait until a server whose log nobody reads is ready."""
    deadline = time.monotonic() + 30
    while True:
        with suppress(httpx.HTTPError):
            httpx.get(f"{url}/readyz").raise_for_status()
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_log_that_nobody_reads_stops_nothing(seven: Grey) -> None:
    """Both outputs are pipes that are full. The service answers thousands of requests, counts the lines that it drops,
    and ends in time."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "serve", "--port", str(port)],
        cwd=ROOT,
        env=clean_environment(DIGITS_DRAIN_MS="0", DIGITS_GRACE_S="3"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    server = Server(f"http://127.0.0.1:{port}", process.pid, Path())
    assert process.stdout
    assert process.stderr
    try:
        wait_until_ready(server.url)
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        ask = get("/" + "a" * 150).replace(b"Connection: close\r\n", b"")
        for _ in range(13):
            assert talk(server, ask * 1_000 + get("/livez")).raw.count(b"HTTP/1.1 404") == 1_000
        assert httpx.post(f"{server.url}/predict", files={"file": png(seven)}, timeout=10).json()["digit"] == 7
        time.sleep(METRICS_DELAY_S)
        metrics = httpx.get(f"{server.url}/metrics").text
        dropped = re.search(r"^digits_log_lines_dropped_total (\S+)$", metrics, re.MULTILINE)
        assert dropped
        assert 1_000 < float(dropped[1]) < 13_100 - MAX_LINES
        process.terminate()
        process.wait(timeout=10)
    finally:
        process.kill()
        output, _ = process.communicate()
    for line in output.splitlines()[:-1]:  # the last one may be cut
        json.loads(line)


def test_lines_that_wait_are_written_in_order_when_there_is_a_reader_again() -> None:
    """No line is lost below the maximum, none is cut, and none is written twice."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    lines, before = LineWriter(writer), LineWriter.dropped
    expected = [f"{number:06d} {'x' * (number % 97)}" for number in range(MAX_LINES)]
    for line in expected:
        lines.write(line + "\n")
    received = b""
    while received.count(b"\n") < MAX_LINES:
        received += os.read(reader, 65_536)
    lines.close()
    assert received.decode().splitlines() == expected
    assert LineWriter.dropped == before
    os.close(writer)
    os.close(reader)
