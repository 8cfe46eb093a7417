"""The service behind nginx, HAProxy and Caddy: no request is lost, and early answers arrive."""

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.pictures import Grey, png
from tests.support.proxies import behind, post_pictures, proxy_parameters
from tests.support.running import Server, running

pytestmark = pytest.mark.slow  # starts services, or reads hundreds of pictures

KEEP_ALIVE_S = 1.0
REQUESTS = 300  # python -m benchmarks.proxies sends 10,000


@pytest.fixture(scope="module")
def short_lived() -> Iterator[Server]:
    """A server that closes idle connections soon."""
    with running(DIGITS_KEEP_ALIVE_S=str(KEEP_ALIVE_S)) as server:
        yield server


def address(server: Server) -> str:
    return server.url.removeprefix("http://")


@pytest.mark.parametrize("name", proxy_parameters())
def test_no_request_is_lost(name: str, short_lived: Server, digits: list[tuple[int, Grey]], tmp_path: Path) -> None:
    """Each of many pictures on several connections gets its own answer, also after pauses of about the keep-alive."""
    pictures = [(digit, png(image)) for digit, image in digits]
    dice = random.Random(0)
    fast = [[0.0] * (REQUESTS // 4) for _ in range(4)]
    slow = [[dice.uniform(0.9, 1.1) * KEEP_ALIVE_S for _ in range(8)] for _ in range(12)]
    with behind(name, address(short_lived), tmp_path, idle_s=0.5) as url, ThreadPoolExecutor(16) as pool:
        counts = sum(pool.map(lambda pauses: post_pictures(url, pictures, pauses), fast + slow), Counter())
    assert counts == {"right": sum(map(len, fast + slow))}


@pytest.mark.parametrize("name", proxy_parameters())
def test_an_early_answer_passes_the_proxy(name: str, short_lived: Server, tmp_path: Path) -> None:
    """A body over the limit gets 413 from the service, not 502 from the proxy."""
    with behind(name, address(short_lived), tmp_path) as url:
        for _ in range(5):
            answer = httpx.post(f"{url}/predict", content=b"\0" * 30_000_000, timeout=20)
            assert answer.status_code == 413
