"""What may be under way at once, and what becomes of the rest."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

from app.inference.admission import LONGEST, Admission
from app.errors import OverloadedError
from tests.support.hostile import memory
from tests.support.pictures import Grey, encode, png
from tests.support.running import running


def test_requests_come_and_go() -> None:
    """As many as are allowed may wait; when one is answered another may come."""
    admission = Admission(2, 100, 100)
    admission.check()
    admission.enter()
    admission.enter()
    for refused in (admission.check, admission.enter):
        with pytest.raises(OverloadedError):
            refused()
    admission.leave()
    admission.check()
    assert admission.requests == 1


def test_pixels_have_a_bound_and_one_picture_may_be_larger() -> None:
    """A picture over the bound is let in where there is no other, so that no picture is refused for ever."""
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


def test_bytes_that_arrive_have_a_bound() -> None:
    """What is refused is not counted, and what is let go of makes room."""
    admission = Admission(9, 100, 100)
    admission.hold_bytes(70)
    with pytest.raises(OverloadedError):
        admission.hold_bytes(31)
    admission.hold_bytes(-70)
    admission.hold_bytes(100)
    assert admission.bytes == 100


def test_how_long_to_wait_follows_the_rate_of_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty that wait, at ten answers a second, are five seconds; never less than one, nor more than half a minute."""
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    admission = Admission(10_000, 100, 100)
    assert admission.retry_after() == 1  # nothing was measured yet
    for _ in range(70):
        admission.enter()
    for _ in range(20):
        admission.leave()
    now += 2
    assert admission.retry_after() == 5
    for _ in range(9000):
        admission.enter()
    assert admission.retry_after() == LONGEST


def test_overload_is_refused_at_once_and_nobody_else_notices(seven: Grey) -> None:
    """Ten wait for a slow engine; the others are told to come again within milliseconds, and health is answered."""
    with running(module="benchmarks.faulty", FAULTY_SLOW_MS="400", DIGITS_MAX_INFLIGHT="10") as server:

        def post(number: int) -> tuple[httpx.Response, float]:
            with httpx.Client(timeout=20) as client:
                client.get(f"{server.url}/livez")
                time.sleep(0.3)  # all are there, and come together
                answer = client.post(f"{server.url}/predict", files={"file": png(seven)})
            return answer, answer.elapsed.total_seconds()

        with ThreadPoolExecutor(40) as pool:
            answering = pool.map(post, range(40))
            time.sleep(0.5)
            began = time.monotonic()
            assert httpx.get(f"{server.url}/readyz").status_code == 200
            assert httpx.get(f"{server.url}/metrics").status_code == 200
            assert time.monotonic() - began < 1
            answers = list(answering)
        statuses = Counter(answer.status_code for answer, _ in answers)
        assert set(statuses) == {200, 503}
        assert statuses[200] >= 10
        for answer, _ in answers:
            if answer.status_code == 503:
                assert int(answer.headers["Retry-After"]) >= 1
                assert answer.json()["type"].endswith(":overloaded")
        metrics = httpx.get(f"{server.url}/metrics").text
        assert f'digits_requests_rejected_total{{reason="overloaded"}} {float(statuses[503])}' in metrics
        assert httpx.post(f"{server.url}/predict", files={"file": png(seven)}).status_code == 200


def test_what_cannot_be_in_time_is_not_begun(seven: Grey) -> None:
    """Those that waited past their deadline are answered 504, and the engine has not seen them."""
    slow = {"FAULTY_SLOW_MS": "500", "DIGITS_BATCH_MAX": "1", "DIGITS_DEADLINE_MS": "700"}
    with running(module="benchmarks.faulty", **slow) as server:

        def ask(_: int) -> httpx.Response:
            return httpx.post(f"{server.url}/predict", files={"file": png(seven)}, timeout=20)

        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(ask, range(6)))
        statuses = Counter(answer.status_code for answer in answers)
        assert set(statuses) == {200, 504}
        assert {answer.json()["type"].rpartition(":")[2] for answer in answers if answer.status_code == 504} == {
            "deadline"
        }
        assert f"digits_batch_size_sum {float(statuses[200])}" in httpx.get(f"{server.url}/metrics").text


def test_large_pictures_wait_by_their_pixels() -> None:
    """Of 64 pictures of 25 megapixels that come at once some are read, the others come again; memory stays bounded."""
    page = np.full((5000, 5000), 255, np.uint8)
    page[1000:4000, 2400:2600] = 0
    body = encode(Image.fromarray(page), "PNG", compress_level=1)
    with running(DIGITS_DEADLINE_MS="20000") as server:

        def post(_: int) -> int:
            return httpx.post(f"{server.url}/predict", files={"file": body}, timeout=60).status_code

        httpx.post(f"{server.url}/predict", files={"file": body}, timeout=60).raise_for_status()
        before = memory(server.pid, "VmRSS")
        with ThreadPoolExecutor(64) as pool:
            statuses = Counter(pool.map(post, range(64)))
        assert set(statuses) == {200, 503}
        assert statuses[200] >= 2
        assert memory(server.pid, "VmRSS") < before + 286  # MiB
        assert httpx.get(f"{server.url}/readyz").status_code == 200
