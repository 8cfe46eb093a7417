"""Admission: how much may be in progress at once, and what happens to the rest."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.errors import OverloadedError
from app.inference.admission import MAX_RETRY_AFTER_S, Admission
from tests.support.hostile import memory
from tests.support.pictures import Grey, encode, png
from tests.support.running import running

pytestmark = pytest.mark.serial  # measures times


def test_requests_enter_and_leave() -> None:
    """No more requests than the limit may wait. When one is answered, another may enter."""
    admission = Admission(2, 100, 100)
    admission.check()
    admission.enter()
    admission.enter()
    for method in (admission.check, admission.enter):
        with pytest.raises(OverloadedError):
            method()
    admission.leave()
    admission.check()
    assert admission.requests == 1


def test_pixels_are_limited_but_one_picture_may_be_larger() -> None:
    """A picture over the limit is accepted if it is the only one, so that no picture is always refused."""
    admission = Admission(9, 100, 100)
    with admission.holding_pixels(1000):
        with pytest.raises(OverloadedError), admission.holding_pixels(1):
            pass
        assert admission.pixels == 1000
    with (
        admission.holding_pixels(60),
        admission.holding_pixels(40),
        pytest.raises(OverloadedError),
        admission.holding_pixels(1),
    ):
        pass
    assert admission.pixels == 0


def test_bytes_of_uploads_are_limited() -> None:
    """Refused bytes are not counted, and released bytes make room."""
    admission = Admission(9, 100, 100)
    admission.hold_bytes(70)
    with pytest.raises(OverloadedError):
        admission.hold_bytes(31)
    admission.hold_bytes(-70)
    admission.hold_bytes(100)
    assert admission.bytes == 100


def test_retry_after_follows_the_rate_of_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """At ten answers per second, fifty waiting requests mean five seconds. The bounds are 1 s and 30 s."""
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    admission = Admission(10_000, 100, 100)
    assert admission.retry_after() == 1  # no rate was measured yet
    for _ in range(70):
        admission.enter()
    for _ in range(20):
        admission.leave()
    now += 2
    assert admission.retry_after() == 5
    for _ in range(9000):
        admission.enter()
    assert admission.retry_after() == MAX_RETRY_AFTER_S


def test_overload_is_refused_at_once_and_health_still_answers(seven: Grey) -> None:
    """Ten requests wait for a slow engine. The others get 503 with Retry-After, and health answers meanwhile."""
    with (
        running(module="benchmarks.faulty_server", FAULTY_SLOW_MS="400", DIGITS_MAX_INFLIGHT="10") as server,
        httpx.Client(base_url=server.url, timeout=20) as client,
        ThreadPoolExecutor(40) as pool,
    ):
        together = threading.Barrier(41)

        def post(_: int) -> httpx.Response:
            together.wait(10)
            return client.post("/predict", files={"file": png(seven)})

        client.get("/livez")
        results = pool.map(post, range(40))
        together.wait(10)
        time.sleep(0.2)
        started = time.monotonic()
        assert client.get("/readyz").status_code == 200
        assert client.get("/metrics").status_code == 200
        assert time.monotonic() - started < 1
        answers = list(results)
        statuses = Counter(answer.status_code for answer in answers)
        assert set(statuses) == {200, 503}
        assert statuses[200] >= 10
        for answer in answers:
            if answer.status_code == 503:
                assert int(answer.headers["Retry-After"]) >= 1
                assert answer.json()["type"].endswith(":overloaded")
        metrics = client.get("/metrics").text
        assert f'digits_requests_rejected_total{{reason="overloaded"}} {float(statuses[503])}' in metrics
        assert client.post("/predict", files={"file": png(seven)}).status_code == 200


def test_a_request_past_its_deadline_is_not_computed(seven: Grey) -> None:
    """Requests that waited past their deadline get 504, and the engine has not read their pictures."""
    slow: dict[str, Any] = {"FAULTY_SLOW_MS": "200", "DIGITS_BATCH_MAX": "1", "DIGITS_DEADLINE_MS": "300"}
    with (
        running(module="benchmarks.faulty_server", **slow) as server,
        httpx.Client(base_url=server.url, timeout=20) as client,
    ):

        def post(_: int) -> httpx.Response:
            return client.post("/predict", files={"file": png(seven)})

        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(post, range(6)))
        statuses = Counter(answer.status_code for answer in answers)
        assert set(statuses) == {200, 504}
        assert {answer.json()["type"].rpartition(":")[2] for answer in answers if answer.status_code == 504} == {
            "deadline"
        }
        assert f"digits_batch_size_sum {float(statuses[200])}" in client.get("/metrics").text


@pytest.mark.slow  # decodes at least two pictures of 25 megapixels, and sends 64
def test_large_pictures_are_limited_by_their_pixels() -> None:
    """Of 64 pictures of 25 megapixels at once, some are read and the others get 503. Memory stays bounded."""
    page = np.full((5000, 5000), 255, np.uint8)
    page[1000:4000, 2400:2600] = 0
    body = encode(Image.fromarray(page), "PNG", compress_level=1)
    with (
        running(DIGITS_DEADLINE_MS="20000") as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
        ThreadPoolExecutor(64) as pool,
    ):

        def post(_: int) -> int:
            return client.post("/predict", files={"file": body}).status_code

        client.post("/predict", files={"file": body}).raise_for_status()
        before = memory(server.pid, "VmRSS")
        statuses = Counter(pool.map(post, range(64)))
        assert set(statuses) == {200, 503}
        assert statuses[200] >= 2
        assert memory(server.pid, "VmRSS") < before + 286  # MiB
        assert client.get("/readyz").status_code == 200
