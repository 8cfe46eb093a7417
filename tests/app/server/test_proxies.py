"""The service behind nginx, HAProxy and Caddy: no request is lost, and none gets the answer of another one."""

import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.pictures import Grey, png
from tests.support.proxies import behind, proxy_parameters
from tests.support.running import Server, running

KEEP_ALIVE_S = 1.0
REQUESTS = 300  # python -m benchmarks.proxies sends 10,000


@pytest.fixture(scope="module")
def short_lived() -> Iterator[Server]:
    """A server that closes idle connections soon."""
    with running(DIGITS_KEEP_ALIVE_S=str(KEEP_ALIVE_S)) as server:
        yield server


def address(server: Server) -> str:
    return server.url.removeprefix("http://")


def post(url: str, pictures: list[tuple[int, bytes]], pauses: list[float]) -> Counter[str]:
    """Post a picture after each pause, on one connection. Count the answers."""
    counts: Counter[str] = Counter()
    with httpx.Client(base_url=url, timeout=20) as client:
        for index, pause in enumerate(pauses):
            time.sleep(pause)
            digit, picture = pictures[index % len(pictures)]
            try:
                answer = client.post("/predict", files={"file": picture})
                right = answer.status_code == httpx.codes.OK and answer.json()["digit"] == digit
                counts["right" if right else f"{answer.status_code}: {answer.text[:100]}"] += 1
            except httpx.TransportError as error:
                counts[repr(error)] += 1
    return counts


@pytest.mark.parametrize("name", proxy_parameters())
def test_no_request_is_lost(name: str, short_lived: Server, digits: list[tuple[int, Grey]], tmp_path: Path) -> None:
    """Each of many pictures on several connections gets its own answer, also after pauses of about the keep-alive."""
    pictures = [(digit, png(image)) for digit, image in digits]
    dice = random.Random(0)
    fast = [[0.0] * (REQUESTS // 4) for _ in range(4)]
    slow = [[dice.uniform(0.9, 1.1) * KEEP_ALIVE_S for _ in range(8)] for _ in range(12)]
    with behind(name, address(short_lived), tmp_path, idle_s=0.5) as url, ThreadPoolExecutor(16) as pool:
        counts = sum(pool.map(lambda pauses: post(url, pictures, pauses), fast + slow), Counter())
    assert counts == {"right": sum(map(len, fast + slow))}


@pytest.mark.parametrize("name", proxy_parameters())
def test_an_early_answer_passes_the_proxy(name: str, short_lived: Server, tmp_path: Path) -> None:
    """A body over the limit gets 413 from the service, not 502 from the proxy."""
    with behind(name, address(short_lived), tmp_path) as url:
        for _ in range(5):
            answer = httpx.post(f"{url}/predict", content=b"\0" * 30_000_000, timeout=20)
            assert answer.status_code == 413


@pytest.mark.parametrize("name", proxy_parameters())
def test_nobody_smuggles_a_request_through_a_proxy(name: str, short_lived: Server, seven: Grey, tmp_path: Path) -> None:
    """While one client hides requests behind an upgrade, another one gets only answers to its own requests."""
    hidden = b"GET /info HTTP/1.1\r\nHost: x\r\n\r\n"
    attack = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n%b"
        % (len(hidden), hidden)
    )
    picture = [(7, png(seven))]
    with behind(name, address(short_lived), tmp_path) as url, ThreadPoolExecutor(1) as pool:
        victim = pool.submit(post, url, picture, [0.0] * 100)
        port = int(url.rpartition(":")[2])
        while not victim.done():
            with socket.create_connection(("127.0.0.1", port), timeout=5) as attacker:
                attacker.sendall(attack)
                attacker.recv(65536)
        assert victim.result() == {"right": 100}
