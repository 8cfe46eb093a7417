"""Runs functions in executors that may be shut down at any time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

from app.errors import NotReadyError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


async def run_in_executor(
    executor: Executor, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Run a function in an executor. Raises what the function raises.

    Raises:
        NotReadyError: The executor was shut down before the function's turn, or cannot start a thread.
    """
    try:
        running = executor.submit(function, *args, **kwargs)
    except RuntimeError:
        raise NotReadyError("The service can start no work now.") from None
    try:
        return await asyncio.wrap_future(running)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task and task.cancelling():
            raise
        raise NotReadyError("The service can start no work now.") from None  # the executor has cancelled it
