"""``digitserve bench``, against a recording server and against the real service."""

import asyncio
import base64
import contextlib
import io
import json
import os
import signal
import socket
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.__main__ import main
from app.cli.bench import PICTURE_COUNT
from app.cli.bench_report import format_table, summarize
from app.cli.bench_requests import sample_pictures
from app.cli.load_generator import Load, Tally, plan_starts
from app.errors import python_command
from app.inference.engines import Engine
from tests.app.cli.recording_server import CLOSE, HANG, make_reply, serving
from tests.support.running import Server

pytestmark = pytest.mark.slow  # starts services, or reads hundreds of pictures


def bench(*arguments: str) -> int:
    """Run bench in this process. Return its exit status."""
    return main(["bench", *arguments])


Measure = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def measure(capsys: pytest.CaptureFixture[str]) -> Measure:
    """Run bench with --json. Return its exit status and the printed object."""

    def measure(url: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        status = bench("--url", url, "--json", *arguments)
        printed = capsys.readouterr()
        assert printed.err == ""  # the progress bar appears only on terminals
        (line,) = printed.out.splitlines()
        return status, json.loads(line)

    return measure


def stall_at(unlucky: int) -> Callable[[int], bytes]:
    def answer(number: int) -> bytes:
        if number == unlucky:
            time.sleep(0.5)  # stops the whole server, as a garbage collection does
        return make_reply(200)

    return answer


def test_an_open_loop_charges_a_stall_for_all_delayed_requests(measure: Measure) -> None:
    """At 200 requests per second, the latency of requests that were due during a stall counts from their due time."""
    with serving(stall_at(50)) as server:
        status, results = measure(server.url, "--rate", "200", "--even", "--seconds", "1")
    assert (status, results["requests"], results["answered"], len(server.bodies)) == (0, 200, 200, 200)
    assert results["latency_ms"]["p99"] > 400
    assert results["latency_ms"]["p90"] > 250


def test_waiting_for_a_connection_counts(measure: Measure) -> None:
    """With one connection, the latency of a request that waits for it counts from its due time."""
    with serving(stall_at(50)) as server:
        _, results = measure(server.url, "--rate", "200", "--even", "--seconds", "1", "--connections", "1")
    assert (results["requests"], results["answered"], server.connections) == (200, 200, 1)
    assert results["latency_ms"]["p90"] > 250


def test_a_closed_loop_has_one_request_per_connection(measure: Measure) -> None:
    """While the server stalls, nothing is sent, so only one latency shows the stall. An open loop avoids this."""
    with serving(stall_at(20)) as server:
        status, results = measure(server.url, "--seconds", "1", "--connections", "1")
    assert (status, results["loop"], server.connections) == (0, "closed", 1)
    assert results["requests"] == results["answered"] == len(server.bodies) > 21
    assert results["latency_ms"]["max"] > 499
    assert results["latency_ms"]["p90"] < 400


def test_a_closed_loop_uses_each_connection() -> None:
    """The server gets one request per connection before it answers any."""
    with serving(lambda number: HANG) as server:
        load = Load(
            ("127.0.0.1", server.port), [b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"], 7, 0.2, max_wait_s=0.2
        )
        tally = asyncio.run(load.run())
    assert (tally.requests, len(server.bodies), server.connections) == (7, 7, 7)


def test_a_request_without_an_answer_is_an_error_and_has_a_latency() -> None:
    """A server that hangs does not improve the latencies: they include the requests that were given up."""
    request = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    with serving(lambda number: HANG) as server:
        starts = plan_starts(100, 0.5, even=True)
        tally = asyncio.run(Load(("127.0.0.1", server.port), [request], 3, 0.5, starts, max_wait_s=0.2).run())
    assert (tally.requests, tally.answered, tally.errors) == (50, 0, {"no answer": 50})
    assert len(tally.latencies) == 50
    assert max(tally.latencies) >= 0.7 > 0.2 <= min(tally.latencies)


def test_errors_are_counted_by_status(measure: Measure) -> None:
    """Each status is counted. A connection closed without an answer is counted, too, and reopened."""
    kinds = [make_reply(200), make_reply(503), make_reply(404), CLOSE]
    with serving(lambda number: kinds[number % 4]) as server:
        status, results = measure(server.url, "--rate", "200", "--even", "--seconds", "0.5", "--connections", "2")
    assert (status, results["requests"], results["answered"]) == (1, 100, 25)
    assert results["errors"] == {"404": 25, "503": 25, "connection closed": 25}
    assert 23 <= results["connections_reopened"] == server.connections - 2 <= 25


def test_an_answer_that_closes_its_connection_is_not_an_error(measure: Measure) -> None:
    """The connection is reopened, and that is counted."""
    with serving(lambda number: make_reply(200, "Connection: close\r\n")) as server:
        status, results = measure(server.url, "--seconds", "0.3", "--connections", "2")
    assert (status, results["errors"], results["answered"]) == (0, {}, len(server.bodies))
    assert results["connections_reopened"] == server.connections - 2 > 0


def test_a_server_that_goes_away_is_an_error(measure: Measure) -> None:
    """Requests without a connection are counted as such, and the run continues to its end."""

    def answer(number: int) -> bytes:
        if number == 5:
            assert server.listener
            server.listener.close()
            return CLOSE
        return make_reply(200)

    with serving(answer) as server:
        status, results = measure(server.url, "--seconds", "0.5", "--connections", "1")
    assert (status, results["answered"], results["connections_reopened"]) == (1, 5, 0)
    assert results["errors"].pop("connection closed") == 1
    assert set(results["errors"]) == {"no connection"}


def test_what_is_not_http_is_an_error(measure: Measure) -> None:
    """A server with another protocol has a different error than one that closes the connection."""
    with serving(lambda number: b"220 mail.example ESMTP\r\n") as server:
        status, results = measure(server.url, "--rate", "50", "--even", "--seconds", "0.2", "--connections", "4")
    assert (status, results["errors"]) == (1, {"not HTTP": 10})


def test_json_is_one_consistent_object(measure: Measure) -> None:
    """It contains the conditions and the results. Its byte counts are those that the server saw."""
    arguments = ("--rate", "100", "--even", "--seconds", "0.5", "--form", "raw", "--connections", "4")
    with serving(lambda number: make_reply(200)) as server:
        status, results = measure(server.url, *arguments)
    assert status == 0
    assert {
        "form": "raw",
        "loop": "open",
        "rate": 100,
        "arrivals": "even",
        "pictures": PICTURE_COUNT,
    }.items() <= results.items()
    assert results["url"] == f"{server.url}/predict"
    assert results["offered_per_second"] == pytest.approx(100, rel=0.01)
    assert results["bytes_sent"] == sum(map(len, [*server.heads, *server.bodies]))
    assert results["bytes_received"] == 50 * len(make_reply(200))
    times = [results["latency_ms"][name] for name in ("min", "p50", "p90", "p99", "p99.9", "max")]
    assert times == sorted(times)
    assert len(set(server.bodies)) == 50


def test_the_table_has_one_row_per_number(capsys: pytest.CaptureFixture[str]) -> None:
    """Requests, rates, errors by status, latencies and bytes are on standard output."""
    with serving(lambda number: make_reply(503 if number == 0 else 200)) as server:
        status = bench("--url", server.url, "--rate", "100", "--even", "--seconds", "0.2", "--connections", "4")
    rows = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line)
    assert status == 1
    assert (rows["requests"], rows["answered"], rows["errors 503"], rows["loop"]) == ("20", "19", "1", "open")
    assert {"offered per second", "answered per second", "latency ms p99.9", "bytes sent", "generator busy"} <= set(
        rows
    )


def test_ctrl_c_ends_the_run_early_and_prints_the_results(measure: Measure) -> None:
    """Requests in progress still get their answers, and the exit status depends on the answers."""

    def answer(number: int) -> bytes:
        if number == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return make_reply(200)

    with serving(answer) as server:
        status, results = measure(server.url, "--rate", "100", "--seconds", "600", "--connections", "4")
    assert (status, results["errors"]) == (0, {})
    assert 21 <= results["requests"] == results["answered"] == len(server.bodies)
    assert results["seconds"] < 60


def test_files_are_sent_unchanged_and_in_turn(measure: Measure, tmp_path: Path) -> None:
    """The named files are sent to the path of --url plus --path."""
    files = [tmp_path / name for name in ("one.png", "two.jpg")]
    for file in files:
        file.write_bytes(os.urandom(300))
    contents = [file.read_bytes() for file in files]
    arguments = ("--rate", "50", "--even", "--seconds", "0.1", "--connections", "1", *map(str, files))
    with serving(lambda number: make_reply(200)) as server:
        measure(f"{server.url}/digits/", "--form", "raw", "--path", "/read?preview=true", *arguments)
        measure(server.url, "--form", "json", *arguments)
    assert server.heads[0].startswith("POST /digits/read?preview=true HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n" in server.heads[0]
    assert server.bodies[:5] == [contents[number % 2] for number in range(5)]
    decoded = [base64.b64decode(json.loads(body)["image"]) for body in server.bodies[5:]]
    assert decoded == server.bodies[:5]


@pytest.mark.parametrize("form", ["multipart", "raw", "json"])
def test_the_service_answers_what_bench_sends(form: str, measure: Measure, server: Server) -> None:
    """In each form, every answer is 200."""
    status, results = measure(server.url, "--form", form, "--seconds", "0.3", "--connections", "4")
    assert (status, results["errors"]) == (0, {})
    assert results["answered"] == results["requests"] >= 4


def test_the_sample_pictures_differ_and_stay_readable(engine: Engine, digits: list[tuple[int, Any]]) -> None:
    """All files are different, and the network still reads the distorted digits correctly."""
    files = sample_pictures(400)
    assert len(set(files)) == 400
    pictures = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
    assert pictures.dtype == np.uint8
    assert pictures.shape == (400, 28, 28)
    expected = [digit for digit, _ in digits] * 20
    assert np.mean(engine(pictures).probabilities.argmax(axis=1) == expected) > 0.98


def test_without_a_service_one_line_says_how_to_start_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the address, and the command that starts the service there with this Python."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        status = bench("--url", f"http://127.0.0.1:{port}")
    printed = capsys.readouterr()
    assert (status, printed.out) == (1, "")
    assert printed.err == (
        f"digitserve: no connection to http://127.0.0.1:{port}: Connection refused. "
        f"To start the service there: {python_command()} -m app serve --port {port}\n"
    )


def test_other_machines_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """An address on another machine needs --anywhere. Without it, bench does not connect."""
    assert bench("--url", "http://192.0.2.1:8000") == 2
    assert "192.0.2.1 is not this machine; --anywhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--url", "https://127.0.0.1"], "https is not supported"),
        (["--url", "127.0.0.1:8000"], "is not like http://127.0.0.1:8000"),
        (["--url", "http://127.0.0.1:99999"], "invalid"),
        (["--rate", "0"], "not a number above 0"),
        (["--rate", "1e9"], "far more than it can send"),
        (["--seconds", "nan"], "not a number above 0"),
        (["--connections", "0"], "less than 1"),
        (["--form", "xml"], "invalid choice"),
        (["--even"], "--rate"),
        (["/nowhere.png"], "/nowhere.png: No such file"),
        (["--url", "http://nowhere.invalid"], "nowhere.invalid: "),
    ],
)
def test_wrong_usage_is_reported(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status is 2, and the reason is on standard error."""
    try:
        status: int | str | None = bench(*arguments)
    except SystemExit as exit:
        status = exit.code
    printed = capsys.readouterr()
    assert (status, printed.out) == (2, "")
    assert reason in printed.err.splitlines()[-1]


def test_a_terminal_shows_a_progress_bar() -> None:
    """It shows the time and the number of answers, and disappears at the end."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    with serving(lambda number: make_reply(200)) as server, contextlib.redirect_stderr(terminal):
        bench("--url", server.url, "--seconds", "0.5", "--connections", "1")
    assert "of 0.5 s" in terminal.getvalue()
    assert "answered" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize(
    ("busy", "lag", "latency", "is_bottleneck"),
    [
        (0.5, 0.0001, 0.0005, False),
        (0.9, 0.0001, 0.0005, True),  # it was busy all the time
        (0.5, 0.002, 0.005, True),  # it was late by a large part of the latency
        (0.5, 0.002, 0.1, False),  # it was late by a small part of the latency
    ],
)
def test_it_reports_that_the_generator_is_the_bottleneck(
    busy: float, lag: float, latency: float, is_bottleneck: bool
) -> None:
    """The results are marked if the generator was too busy, or started requests too late."""
    tally = Tally(window=1.0, requests=9, answered=9, latencies=[latency] * 9, lags=[lag] * 9, busy=busy)
    results = summarize(tally, open_loop=True)
    assert results["generator_was_the_bottleneck"] is is_bottleneck
    assert ("rather than the server" in format_table(results)) is is_bottleneck


def test_starts_are_even_or_a_poisson_process() -> None:
    """Random gaps are exponential: their mean is given by the rate, and their standard deviation equals it."""
    assert list(plan_starts(4, 1, even=True)) == [0, 0.25, 0.5, 0.75]
    starts = list(plan_starts(1000, 20, even=False))
    gaps = np.diff(starts)
    assert starts == sorted(starts)
    assert starts[-1] < 20
    assert statistics.mean(gaps) == pytest.approx(1e-3, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(1e-3, rel=0.05)
