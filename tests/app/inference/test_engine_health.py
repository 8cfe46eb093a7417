"""A failing engine: no wrong answer, not ready, and in the end no process."""

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from app.errors import EngineFailedError
from app.inference.engine_health import FAILED, Watch
from tests.support.pictures import Grey, png
from tests.support.running import running


@pytest.mark.parametrize("fault", ["error", "nan"])
def test_an_engine_that_fails_for_a_while(seven: Grey, tmp_path: Path, fault: str) -> None:
    """Meanwhile requests get 503 and no digit, and the service is not ready; then all is well without a restart."""
    file = tmp_path / "fault"
    with running(module="benchmarks.faulty", FAULTY_FILE=str(file)) as server:

        def ask() -> httpx.Response:
            return httpx.post(f"{server.url}/predict", files={"file": png(seven)})

        assert ask().json()["digit"] == 7
        file.write_text(fault)
        answer = ask()
        assert answer.status_code == 503
        assert answer.json()["type"].endswith(":engine-failed")
        assert "CUDA" not in answer.text
        assert httpx.get(f"{server.url}/readyz").status_code == 503
        assert httpx.get(f"{server.url}/v2/health/ready").status_code == 503
        assert httpx.get(f"{server.url}/livez").status_code == 200
        file.unlink()
        deadline = time.monotonic() + 5
        while httpx.get(f"{server.url}/readyz").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert ask().json()["digit"] == 7


def test_an_engine_that_goes_on_failing_ends_the_process(seven: Grey, tmp_path: Path) -> None:
    """After the time that is set the process ends, with a status that its supervisor can tell from a stop."""
    file = tmp_path / "fault"
    with running(module="benchmarks.faulty", FAULTY_FILE=str(file), DIGITS_FAULT_S="1") as server:
        file.write_text("error")
        assert httpx.post(f"{server.url}/predict", files={"file": png(seven)}).status_code == 503
        deadline = time.monotonic() + 10
        status = 0
        with suppress(ChildProcessError):
            while not status and time.monotonic() < deadline:
                status = os.waitpid(server.pid, os.WNOHANG)[1]
                time.sleep(0.05)
        assert os.waitstatus_to_exitcode(status) == FAILED
        assert "this process ends" in server.log.read_text()


def test_one_failure_after_another_is_one_watch() -> None:
    """However often an engine fails, it is tried once a second, and a stop ends the trying."""
    tries: list[float] = []

    def probe() -> None:
        tries.append(time.monotonic())
        raise EngineFailedError("still")

    async def fail_often() -> None:
        watch = Watch(probe, 60, lambda status: pytest.fail("it ended"))
        assert not watch.failing
        for _ in range(100):
            watch.failed(RuntimeError())
        await asyncio.sleep(0)
        await asyncio.sleep(2.5)
        assert watch.failing
        await watch.close()

    asyncio.run(fail_often())
    assert len(tries) == 2
