"""A failing engine: requests get 503, the service is not ready, and finally the process ends."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from app.errors import EngineFailedError
from app.inference.engine_health import EXIT_STATUS, EngineHealth
from tests.support.pictures import Grey, png
from tests.support.running import Server, running

pytestmark = pytest.mark.slow  # starts services, or reads hundreds of pictures


@pytest.fixture(scope="module")
def fault_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that makes the server of this module fail while it exists."""
    return tmp_path_factory.mktemp("faults") / "fault"


@pytest.fixture(scope="module")
def faulty(fault_file: Path) -> Iterator[Server]:
    """A server whose engine can be made to fail."""
    with running(module="benchmarks.faulty_server", FAULTY_FILE=str(fault_file)) as server:
        yield server


@pytest.mark.parametrize("fault", ["error", "nan"])
def test_the_service_recovers_from_a_failing_engine(seven: Grey, faulty: Server, fault_file: Path, fault: str) -> None:
    """While the engine fails, requests get 503 and the service is not ready. Then it works again without a restart."""

    def post() -> httpx.Response:
        return httpx.post(f"{faulty.url}/predict", files={"file": png(seven)})

    assert post().json()["digit"] == 7
    fault_file.write_text(fault)
    answer = post()
    assert answer.status_code == 503
    assert answer.json()["type"].endswith(":engine-failed")
    assert "CUDA" not in answer.text
    assert httpx.get(f"{faulty.url}/readyz").status_code == 503
    assert httpx.get(f"{faulty.url}/v2/health/ready").status_code == 503
    assert httpx.get(f"{faulty.url}/livez").status_code == 200
    fault_file.unlink()
    deadline = time.monotonic() + 5
    while httpx.get(f"{faulty.url}/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert post().json()["digit"] == 7


def test_an_engine_that_keeps_failing_ends_the_process(seven: Grey, tmp_path: Path) -> None:
    """After DIGITS_FAULT_S the process ends with a status that differs from that of a normal stop."""
    file = tmp_path / "fault"
    with running(module="benchmarks.faulty_server", FAULTY_FILE=str(file), DIGITS_FAULT_S="1") as server:
        file.write_text("error")
        assert httpx.post(f"{server.url}/predict", files={"file": png(seven)}).status_code == 503
        deadline = time.monotonic() + 10
        status = 0
        with suppress(ChildProcessError):
            while not status and time.monotonic() < deadline:
                status = os.waitpid(server.pid, os.WNOHANG)[1]
                time.sleep(0.05)
        assert os.waitstatus_to_exitcode(status) == EXIT_STATUS
        assert "this process ends" in server.log.read_text()


def test_many_failures_start_one_series_of_probes() -> None:
    """The engine is probed once per interval, however often it fails. Closing ends the probes."""
    probes: list[float] = []

    async def fail_often() -> None:
        loop, two_probes = asyncio.get_running_loop(), asyncio.Event()

        def probe() -> None:
            probes.append(time.monotonic())
            if len(probes) == 2:
                loop.call_soon_threadsafe(two_probes.set)
            raise EngineFailedError("still")

        health = EngineHealth(probe, 60, lambda status: pytest.fail("the process ended"), probe_interval_s=0.1)
        assert not health.failing
        for _ in range(100):
            health.report_failure(RuntimeError())
        await asyncio.sleep(0)
        await asyncio.wait_for(two_probes.wait(), 5)
        assert health.failing
        await health.close()

    asyncio.run(fail_often())
    assert len(probes) == 2
    assert probes[1] - probes[0] >= 0.1


def test_any_exception_of_a_probe_is_a_failure() -> None:
    """Probing goes on until the engine works, whatever the probe raises."""

    async def probe_thrice() -> None:
        outcomes = iter([RuntimeError("CUDA error"), MemoryError(), None])
        works = asyncio.Event()

        def probe() -> None:
            if error := next(outcomes):
                raise error

        def note(change: float) -> None:
            if change == 1:
                works.set()

        health = EngineHealth(probe, 10, on_change=note, probe_interval_s=0.01)
        health.report_failure(EngineFailedError())
        await asyncio.wait_for(works.wait(), 5)
        assert not health.failing

    asyncio.run(probe_thrice())
