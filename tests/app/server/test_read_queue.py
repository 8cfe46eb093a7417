"""While much arrives at once, requests are parsed in turns. Health checks do not wait, and nothing is lost."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import httpx
import pytest

from app.server import read_queue
from app.server.read_queue import URGENT, ReadQueue
from tests.support.in_process import run
from tests.support.pictures import Grey, png

POST = b"POST /predict HTTP/1.1\r\n"


def in_loop(check: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(check(), 10))


def test_without_much_to_parse_nothing_waits() -> None:
    """Requests that arrive together are parsed at once."""

    async def check() -> None:
        queue = ReadQueue()
        assert not any(queue.must_wait(POST) for _ in range(100))

    in_loop(check)


def test_what_waits_is_parsed_in_order_over_several_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each iteration parses for a limited time, and what arrives meanwhile goes to the end of the queue."""
    monkeypatch.setattr(read_queue, "MAX_PARSE_S", 0.005)
    parsed: list[int] = []
    iterations: list[int] = []

    def parse(number: int, refuse: bool) -> None:
        time.sleep(0.003)
        parsed.append(number)

    async def check() -> None:
        queue = ReadQueue()
        assert not queue.must_wait(POST)
        time.sleep(0.01)  # noqa: ASYNC251  # parsing keeps the loop busy
        for number in range(12):
            assert queue.must_wait(POST)
            queue.add(partial(parse, number))
        while len(parsed) < 12:
            await asyncio.sleep(0)
            iterations.append(len(parsed))
            if len(parsed) < 12:
                assert queue.must_wait(POST)
        await asyncio.sleep(0)
        assert not queue.must_wait(POST)

    in_loop(check)
    assert parsed == list(range(12))
    assert len(set(iterations)) >= 3


@pytest.mark.parametrize("start", URGENT)
def test_a_health_check_never_waits(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while others do."""
    monkeypatch.setattr(read_queue, "MAX_PARSE_S", -1.0)

    async def check() -> None:
        queue = ReadQueue()
        queue.must_wait(POST)
        assert queue.must_wait(POST)
        queue.add(lambda refuse: None)
        assert not queue.must_wait(start + b" HTTP/1.1\r\n")

    in_loop(check)


def test_every_request_is_answered(seven: Grey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if each iteration parses no more than one packet: small pictures, large uploads in parts, and health."""
    monkeypatch.setattr(read_queue, "MAX_PARSE_S", 0.0)
    large = png(seven) + bytes(3_000_000)

    async def check(client: httpx.AsyncClient, by_the_app: list[str]) -> None:
        answers = await asyncio.gather(
            *(client.post("/predict", content=png(seven)) for _ in range(60)),
            *(client.post("/predict", content=large) for _ in range(5)),
            *(client.get("/readyz") for _ in range(20)),
        )
        assert [answer.json()["digit"] for answer in answers[:65]] == [7] * 65
        assert {answer.status_code for answer in answers} == {200}

    run(check)


def test_while_too_many_wait_most_of_the_first_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some are answered, so that refusals leave time for answers. As many as may wait are all answered."""
    monkeypatch.setattr(read_queue, "MAX_PARSE_S", -1.0)
    monkeypatch.setattr(read_queue, "REFUSALS_PER_ANSWER", 3)
    refusals: list[bool] = []

    async def check() -> None:
        queue = ReadQueue(max_waiting=4)
        queue.must_wait(POST)
        for _ in range(12):
            queue.add(refusals.append)
        for _ in range(14):
            await asyncio.sleep(0)

    in_loop(check)
    assert refusals == [True, True, True, False] * 2 + [False] * 4


def test_a_request_before_too_many_others_is_refused(seven: Grey, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the usual 503 from its head alone. Health checks and the next requests are answered."""
    monkeypatch.setattr(read_queue, "MAX_PARSE_S", 0.0)
    monkeypatch.setattr("app.server.run.ReadQueue", lambda max_waiting: ReadQueue(4))

    async def check(client: httpx.AsyncClient, by_the_app: list[str]) -> None:
        answers = await asyncio.gather(*(client.post("/predict", content=png(seven)) for _ in range(40)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 503}
        refused = answers[statuses.index(503)]
        assert refused.json()["type"] == "urn:problem-type:digitserve:overloaded"
        assert int(refused.headers["Retry-After"]) >= 1
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.post("/predict", content=png(seven))).json()["digit"] == 7

    run(check)
