"""Every function that waits for an executor ends: with its result, its exception, or NotReadyError."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.errors import NotReadyError
from app.inference.threads import run_in_executor


def divide(numerator: int, denominator: int) -> float:
    return numerator / denominator


def test_a_function_gives_its_result_or_its_exception() -> None:
    """Arguments are passed on."""

    async def check() -> None:
        with ThreadPoolExecutor(1) as executor:
            assert await run_in_executor(executor, divide, 6, denominator=4) == 1.5
            with pytest.raises(ZeroDivisionError):
                await run_in_executor(executor, divide, 6, 0)

    asyncio.run(check())


def test_functions_end_when_their_executor_is_shut_down() -> None:
    """The one that runs ends with its result. One that waits or comes later ends with NotReadyError."""

    async def check() -> None:
        executor = ThreadPoolExecutor(1)
        go_on = threading.Event()
        running = asyncio.create_task(run_in_executor(executor, go_on.wait, 30))
        waiting = asyncio.create_task(run_in_executor(executor, divide, 1, 1))
        await asyncio.sleep(0)
        executor.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(NotReadyError):
            await waiting
        with pytest.raises(NotReadyError):
            await run_in_executor(executor, divide, 1, 1)
        go_on.set()
        assert await running

    asyncio.run(check())


def test_a_request_that_is_cancelled_is_not_told_that_the_service_stops() -> None:
    """Its task is cancelled as usual, and its function does not run."""

    async def check() -> None:
        with ThreadPoolExecutor(1) as executor:
            go_on, ran = threading.Event(), threading.Event()
            running = asyncio.create_task(run_in_executor(executor, go_on.wait, 30))
            waiting = asyncio.create_task(run_in_executor(executor, ran.set))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            go_on.set()
            await running
        assert not ran.is_set()

    asyncio.run(check())
