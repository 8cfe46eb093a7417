"""The bench command, against little servers on real sockets that do what a test needs, and against the real service.

A little server runs in a thread of its own and knows what it was sent; that is the oracle for what bench says.
"""

import argparse
import asyncio
import base64
import contextlib
import io
import json
import os
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.cli.bench import PICTURES, add_arguments, golden_digits, run, summary, table
from app.inference.engines import Engine
from app.cli.load_generator import Load, Tally, arrivals
from tests.support.running import Server

CLOSE = b""  # instead of an answer
HANG = b"hang"


def reply(status: int, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} Whatever\r\n{headers}Content-Length: 2\r\n\r\nok".encode()


@dataclass
class LittleServer:
    """Answers what it is told to, by the number of the request, and keeps what it was sent."""

    answer: Callable[[int], bytes]
    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    talks: list[asyncio.Task[None]] = field(default_factory=list)
    listener: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        return len(self.talks)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.talks.append(asyncio.create_task(self.talk(reader, writer)))

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(line for line in head.split("\r\n") if line.startswith("Content-Length: "))
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(int(length.split()[1])))
                answer = self.answer(len(self.bodies) - 1)
                if answer == HANG:
                    await reader.read()
                if answer in (HANG, CLOSE):
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextmanager
def serving(answer: Callable[[int], bytes]) -> Iterator[LittleServer]:
    little, started, stop = LittleServer(answer), threading.Event(), threading.Event()

    async def serve() -> None:
        async with await asyncio.start_server(little.on_connection, "127.0.0.1", 0) as server:
            little.listener, little.port = server, server.sockets[0].getsockname()[1]
            started.set()
            await asyncio.to_thread(stop.wait)
        await asyncio.gather(*little.talks)  # bench has closed its ends, or this would wait for ever

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    try:
        yield little
    finally:
        stop.set()
        thread.join()


def bench(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(arguments))


Measure = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def measure(capsys: pytest.CaptureFixture[str]) -> Measure:
    """Run bench with --json: (exit status, what it printed)."""

    def measure(url: str, *arguments: str) -> tuple[int, dict[str, Any]]:
        status = bench("--url", url, "--json", *arguments)
        printed = capsys.readouterr()
        assert printed.err == ""  # the bar is for terminals
        (line,) = printed.out.splitlines()
        return status, json.loads(line)

    return measure


def stall_at(unlucky: int) -> Callable[[int], bytes]:
    def answer(number: int) -> bytes:
        if number == unlucky:
            time.sleep(0.5)  # the whole server, as a pause for garbage does
        return reply(200)

    return answer


def test_an_open_loop_charges_a_stall_for_all_that_it_kept_waiting(measure: Measure) -> None:
    """Of 200 requests in a second, those that were due in half a second of stall count from when they were due."""
    with serving(stall_at(50)) as server:
        status, found = measure(server.url, "--rate", "200", "--even", "--seconds", "1")
    assert (status, found["requests"], found["answered"], len(server.bodies)) == (0, 200, 200, 200)
    assert found["latency_ms"]["p99"] > 400
    assert found["latency_ms"]["p90"] > 250


def test_waiting_for_a_connection_counts(measure: Measure) -> None:
    """With one connection at most, a request that had to wait for it counts from when it was due all the same."""
    with serving(stall_at(50)) as server:
        _, found = measure(server.url, "--rate", "200", "--even", "--seconds", "1", "--connections", "1")
    assert (found["requests"], found["answered"], server.connections) == (200, 200, 1)
    assert found["latency_ms"]["p90"] > 250


def test_a_closed_loop_has_one_request_a_connection(measure: Measure) -> None:
    """While the server stalls nothing is sent, so that one of many times shows it: what an open loop is for."""
    with serving(stall_at(20)) as server:
        status, found = measure(server.url, "--seconds", "2", "--connections", "1")
    assert (status, found["loop"], server.connections) == (0, "closed", 1)
    assert found["requests"] == found["answered"] == len(server.bodies) > 21
    assert found["latency_ms"]["max"] > 499
    assert found["latency_ms"]["p90"] < 400


def test_a_closed_loop_uses_each_connection(measure: Measure) -> None:
    """As many requests are under way as there are connections: the server sees them all before it answers one."""
    with serving(lambda number: HANG) as server:
        load = Load(("127.0.0.1", server.port), [b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"], 7, 0.2, patience=0.2)
        tally = asyncio.run(load.run())
    assert (tally.requests, len(server.bodies), server.connections) == (7, 7, 7)


def test_what_is_never_answered_is_an_error_with_the_time_that_it_waited() -> None:
    """A server that hangs does not improve the latencies: those given up on are in them."""
    request = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    with serving(lambda number: HANG) as server:
        moments = arrivals(100, 0.5, even=True)
        tally = asyncio.run(Load(("127.0.0.1", server.port), [request], 3, 0.5, moments, patience=0.2).run())
    assert (tally.requests, tally.answered, tally.errors) == (50, 0, {"no answer": 50})
    assert len(tally.latencies) == 50
    assert max(tally.latencies) >= 0.7 > 0.2 <= min(tally.latencies)


def test_errors_are_counted_by_status(measure: Measure) -> None:
    """Each status has its number, and so have connections closed without an answer, which are opened again."""
    kinds = [reply(200), reply(503), reply(404), CLOSE]
    with serving(lambda number: kinds[number % 4]) as server:
        status, found = measure(server.url, "--rate", "200", "--even", "--seconds", "0.5", "--connections", "2")
    assert (status, found["requests"], found["answered"]) == (1, 100, 25)
    assert found["errors"] == {"404": 25, "503": 25, "connection closed": 25}
    assert 23 <= found["connections_reopened"] == server.connections - 2 <= 25


def test_an_answer_that_closes_its_connection_is_no_error(measure: Measure) -> None:
    """The connection is opened again, and counted."""
    with serving(lambda number: reply(200, "Connection: close\r\n")) as server:
        status, found = measure(server.url, "--seconds", "0.3", "--connections", "2")
    assert (status, found["errors"], found["answered"]) == (0, {}, len(server.bodies))
    assert found["connections_reopened"] == server.connections - 2 > 0


def test_a_server_that_goes_away_is_an_error(measure: Measure) -> None:
    """Requests that no connection could be opened for are told as that, and it goes on to its end."""

    def answer(number: int) -> bytes:
        if number == 5:
            assert server.listener
            server.listener.close()
            return CLOSE
        return reply(200)

    with serving(answer) as server:
        status, found = measure(server.url, "--seconds", "0.5", "--connections", "1")
    assert (status, found["answered"], found["connections_reopened"]) == (1, 5, 0)
    assert found["errors"].pop("connection closed") == 1
    assert set(found["errors"]) == {"no connection"}


def test_what_is_not_http_is_an_error(measure: Measure) -> None:
    """A server that speaks something else is told apart from one that closes."""
    with serving(lambda number: b"220 mail.example ESMTP\r\n") as server:
        status, found = measure(server.url, "--rate", "50", "--even", "--seconds", "0.2", "--connections", "4")
    assert (status, found["errors"]) == (1, {"not HTTP": 10})


def test_json_is_one_object_that_adds_up(measure: Measure) -> None:
    """It says what was asked and what was found; bytes are those that the server saw."""
    asked = ("--rate", "100", "--even", "--seconds", "0.5", "--form", "raw", "--connections", "4")
    with serving(lambda number: reply(200)) as server:
        status, found = measure(server.url, *asked)
    assert status == 0
    assert {
        "form": "raw",
        "loop": "open",
        "rate": 100,
        "arrivals": "even",
        "pictures": PICTURES,
    }.items() <= found.items()
    assert found["url"] == f"{server.url}/predict"
    assert found["offered_per_second"] == pytest.approx(100, rel=0.01)
    assert found["bytes_sent"] == sum(map(len, [*server.heads, *server.bodies]))
    assert found["bytes_received"] == 50 * len(reply(200))
    times = [found["latency_ms"][name] for name in ("min", "p50", "p90", "p99", "p99.9", "max")]
    assert times == sorted(times)
    assert len(set(server.bodies)) == 50


def test_the_table_has_a_row_each(capsys: pytest.CaptureFixture[str]) -> None:
    """Requests, rates, errors by status, latencies and bytes, on standard output."""
    with serving(lambda number: reply(503 if number == 0 else 200)) as server:
        status = bench("--url", server.url, "--rate", "100", "--even", "--seconds", "0.2", "--connections", "4")
    rows = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line)
    assert status == 1
    assert (rows["requests"], rows["answered"], rows["errors 503"], rows["loop"]) == ("20", "19", "1", "open")
    assert {"offered per second", "answered per second", "latency ms p99.9", "bytes sent", "generator busy"} <= set(
        rows
    )


def test_ctrl_c_ends_it_early_with_what_was_measured(measure: Measure) -> None:
    """What was under way is answered still, and the exit status is that of the answers."""

    def answer(number: int) -> bytes:
        if number == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return reply(200)

    with serving(answer) as server:
        status, found = measure(server.url, "--rate", "100", "--seconds", "600", "--connections", "4")
    assert (status, found["errors"]) == (0, {})
    assert 21 <= found["requests"] == found["answered"] == len(server.bodies)
    assert found["seconds"] < 60


def test_files_are_sent_as_they_are_in_turn(measure: Measure, tmp_path: Path) -> None:
    """Named files are the pictures, to the address that --path and the URL's own path make."""
    files = [tmp_path / name for name in ("one.png", "two.jpg")]
    for file in files:
        file.write_bytes(os.urandom(300))
    sent = [file.read_bytes() for file in files]
    many = ("--rate", "50", "--even", "--seconds", "0.1", "--connections", "1", *map(str, files))
    with serving(lambda number: reply(200)) as server:
        measure(f"{server.url}/digits/", "--form", "raw", "--path", "/read?preview=true", *many)
        measure(server.url, "--form", "json", *many)
    assert server.heads[0].startswith("POST /digits/read?preview=true HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{server.port}\r\n" in server.heads[0]
    assert server.bodies[:5] == [sent[number % 2] for number in range(5)]
    decoded = [base64.b64decode(json.loads(body)["image"]) for body in server.bodies[5:]]
    assert decoded == server.bodies[:5]


@pytest.mark.parametrize("form", ["multipart", "raw", "json"])
def test_the_service_answers_what_bench_sends(form: str, measure: Measure, server: Server) -> None:
    """The golden digits, in each form: every answer is 200."""
    status, found = measure(server.url, "--form", form, "--seconds", "0.3", "--connections", "4")
    assert (status, found["errors"]) == (0, {})
    assert found["answered"] == found["requests"] >= 4


def test_the_golden_digits_differ_and_stay_digits(engine: Engine, digits: list[tuple[int, Any]]) -> None:
    """No two files are the same, and bent as they are they are still read as what they were."""
    files = golden_digits(400)
    assert len(set(files)) == 400
    pictures = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
    assert pictures.dtype == np.uint8
    assert pictures.shape == (400, 28, 28)
    expected = [digit for digit, _ in digits] * 20
    assert np.mean(engine(pictures).probabilities.argmax(axis=1) == expected) > 0.98


def test_nobody_there_is_one_line_that_helps(capsys: pytest.CaptureFixture[str]) -> None:
    """It says where nobody listens, and how to start the service there."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        status = bench("--url", f"http://127.0.0.1:{port}")
    printed = capsys.readouterr()
    assert (status, printed.out) == (1, "")
    assert printed.err == (
        f"digitserve: nothing listens at http://127.0.0.1:{port}; "
        f"this starts the service: digitserve serve --port {port}\n"
    )


def test_other_peoples_machines_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """An address that is not of this machine needs --anywhere, and is not even connected to without."""
    assert bench("--url", "http://192.0.2.1:8000") == 2
    assert "192.0.2.1 is not this machine; --anywhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
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
def test_wrong_usage_is_told(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status is 2, and the reason is on standard error."""
    try:
        status: int | str | None = bench(*arguments)
    except SystemExit as exit:
        status = exit.code
    printed = capsys.readouterr()
    assert (status, printed.out) == (2, "")
    assert told in printed.err.splitlines()[-1]


def test_a_terminal_sees_a_bar() -> None:
    """It says how far it is and how many were answered, and is wiped away at the end."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    with serving(lambda number: reply(200)) as server, contextlib.redirect_stderr(terminal):
        bench("--url", server.url, "--seconds", "0.5", "--connections", "1")
    assert "of 0.5 s" in terminal.getvalue()
    assert "answered" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize(
    ("busy", "lag", "latency", "itself"),
    [
        (0.5, 0.0001, 0.0005, False),
        (0.9, 0.0001, 0.0005, True),  # it computed all the time
        (0.5, 0.002, 0.005, True),  # it was late by much of what it measured
        (0.5, 0.002, 0.1, False),  # it was late, and that hardly matters
    ],
)
def test_it_says_when_it_was_the_bottleneck(busy: float, lag: float, latency: float, itself: bool) -> None:
    """Figures that are of the generator are marked: it was too busy, or too late for the moments planned."""
    tally = Tally(window=1.0, requests=9, answered=9, latencies=[latency] * 9, lags=[lag] * 9, busy=busy)
    found = summary(tally, open_loop=True)
    assert found["generator_was_the_bottleneck"] is itself
    assert ("rather than of the server" in table(found)) is itself


def test_arrivals_are_even_or_those_of_a_poisson_process() -> None:
    """At random: the gaps have the mean of the rate and, as an exponential has, a deviation that equals it."""
    assert list(arrivals(4, 1, even=True)) == [0, 0.25, 0.5, 0.75]
    moments = list(arrivals(1000, 20, even=False))
    gaps = np.diff(moments)
    assert moments == sorted(moments)
    assert moments[-1] < 20
    assert statistics.mean(gaps) == pytest.approx(1e-3, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(1e-3, rel=0.05)
