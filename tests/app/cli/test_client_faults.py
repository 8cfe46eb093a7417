"""``digitserve predict --url`` with a bad connection, a busy service or none, and another service."""

import asyncio
import itertools
import re
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from app.cli.client import connect
from app.cli.image_files import find_image_files
from app.cli.results import Outcome
from app.errors import ServiceError, python_command
from tests.app.cli.reading import always, first, read, second_batch
from tests.support.faulty_proxy import Action, Cut, ProxiedPost, Reply, run_proxy
from tests.support.ports import free_port
from tests.support.running import Server, run_main, running


@pytest.mark.parametrize("status", [503, 429])
def test_retry_after_is_obeyed(folder: Path, server: Server, complete: dict[str, bytes], status: int) -> None:
    """The client waits for the seconds in Retry-After, twice. Then everything is read, in the same order."""
    arrivals: list[float] = []

    def busy(post: ProxiedPost) -> Action:
        if second_batch(Reply(status))(post):
            arrivals.append(time.monotonic())
            return Reply(status, {"Retry-After": "1"}) if len(arrivals) <= 2 else None
        return None

    with run_proxy(server, busy) as proxy:
        done = run_main("predict", "--url", proxy.url, "--csv", str(folder))
    assert done.stdout.encode() == complete["csv"]
    assert len(arrivals) == 3
    assert all(later - earlier >= 1 for earlier, later in itertools.pairwise(arrivals))


def test_retry_after_may_be_a_date(seven_png: Path, server: Server) -> None:
    """Proxies may send a date action of seconds."""
    waits: list[str] = []
    with run_proxy(server, first(1, Reply(503, {"Retry-After": formatdate(time.time() + 2, usegmt=True)}))) as proxy:
        started = time.monotonic()
        (outcome,) = read(proxy.url, [seven_png], on_wait=waits.append)
    assert outcome.answer
    assert time.monotonic() - started > 0.9  # a date has whole seconds
    assert re.fullmatch(r"503 Service Unavailable; trying again in \d\.\d s", waits[0])


def test_a_retry_after_that_is_too_long_ends_the_run(
    folder: Path, server: Server, tmp_path: Path, complete: dict[str, bytes]
) -> None:
    """Earlier answers are kept, and the same command with --resume reads the rest."""
    output = tmp_path / "x.csv"
    with run_proxy(server, second_batch(Reply(429, {"Retry-After": "9999"}))) as proxy:
        done = run_main("predict", "--url", proxy.url, "--output", str(output), str(folder))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"digitserve: {proxy.url} asks us to wait 9,999 s, which is too long: 429 Too Many Requests.",
        "digitserve: 64 done; run the same command with --resume to continue",
    ]
    assert complete["csv"].startswith(output.read_bytes())
    done = run_main("predict", "--url", server.url, "--output", str(output), "--resume", str(folder))
    assert done.returncode == 1  # some files cannot be read
    assert output.read_bytes() == complete["csv"]


def test_a_cut_connection_is_reopened(folder: Path, server: Server, complete: dict[str, bytes]) -> None:
    """The connection is cut in the middle of the first answer and of every fourth one. Nothing is lost."""
    with run_proxy(server, lambda post: Cut() if post.number % 4 == 0 else None) as proxy:
        done = run_main("predict", "--url", proxy.url, "--json", str(folder))
    assert done.stdout.encode() == complete["json"]
    assert len(proxy.posts) == 7  # five batches, two of which were cut


def test_a_picture_that_breaks_the_connection_affects_no_other(folder: Path, server: Server) -> None:
    """Its outcome is the error. Its batch is halved until the picture is alone."""
    with run_proxy(server, second_batch(Cut())) as proxy:
        outcomes = read(proxy.url, [folder])
    expected = read(server.url, [folder])
    assert outcomes[:100] + outcomes[101:] == expected[:100] + expected[101:]
    assert outcomes[100].error
    assert outcomes[100].error.startswith("The connection broke 3 times")


def test_a_service_that_cuts_every_connection_ends_the_run(folder: Path, server: Server) -> None:
    """The run ends after a few pictures, and none of them has an outcome."""
    with run_proxy(server, always(Cut())) as proxy, pytest.raises(ServiceError, match="The connection broke 3 times"):
        read(proxy.url, [folder])
    assert len(proxy.posts) < 200


def test_a_service_that_stays_busy_ends_the_run(folder: Path, server: Server) -> None:
    """After the maximum number of attempts the run ends. Earlier answers are kept."""
    waits: list[str] = []
    with run_proxy(server, second_batch(Reply(503))) as proxy:
        outcomes: list[Outcome] = []

        async def run() -> None:
            async with connect(proxy.url, max_attempts=5, first_wait_s=0.05, on_wait=waits.append) as client:
                await client.read(find_image_files([folder]), outcomes.extend)

        with pytest.raises(ServiceError, match="failed 5 times: 503 Service Unavailable"):
            asyncio.run(run())
    assert len(outcomes) == 64
    assert len(proxy.posts) <= 5 + 4
    assert len(waits) == 4


def test_the_client_waits_for_a_service_that_restarts(folder: Path) -> None:
    """Nothing listens for a while. Then everything is read."""
    port = free_port()
    outcomes: list[Outcome] = []

    async def run() -> None:
        with running("--port", str(port)) as server:
            connection = connect(server.url, first_wait_s=0.2)
            client = await connection.__aenter__()
        restarted = asyncio.create_task(asyncio.to_thread(serve_again))
        try:
            await client.read(find_image_files([folder]), outcomes.extend)
        finally:
            stop.set()
            await restarted
            await connection.__aexit__(None, None, None)

    stop = threading.Event()

    def serve_again() -> None:
        time.sleep(0.5)
        with running("--port", str(port)):
            stop.wait(30)

    asyncio.run(run())
    assert len(outcomes) == 300
    assert sum(outcome.answer is not None for outcome in outcomes) == 297


def test_without_a_listening_service_the_run_ends_at_once(seven_png: Path) -> None:
    """The error is one line, with the command that starts the service there with this Python."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    done = run_main("predict", "--url", url, str(seven_png))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"digitserve: no connection to {url}: All connection attempts failed. "
        f"To start the service there: {python_command()} -m app serve --port {port}\n"
    )


def test_another_service_is_refused(seven_png: Path, server: Server) -> None:
    """The error is one line, and no picture is sent."""
    done = run_main("predict", "--url", f"{server.url}/livez", str(seven_png))
    assert done.returncode == 1
    assert done.stderr.startswith(f"digitserve: GET {server.url}/livez/info: GET /livez/info: Not Found.")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[]", b'{"predictions": []}', b'{"predictions": [{}, 7]}'])
def test_answers_that_are_not_from_digitserve_end_the_run(seven_png: Path, server: Server, body: bytes) -> None:
    """Such answers may come from a proxy that has a page for everything. Nothing counts as read."""
    for paths in ([seven_png], [seven_png] * 2):
        with run_proxy(server, always(Reply(200, {}, body))) as proxy, pytest.raises(ServiceError, match="answer"):
            read(proxy.url, paths)
