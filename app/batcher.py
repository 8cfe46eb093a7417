"""Requests that wait at the same time, run as one batch.

While one batch computes in a thread of its own, the next one forms; nothing waits for company unless told to. Every
item that is accepted gets a result or an exception, once. Knows nothing of images, networks or HTTP.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from app.errors import NotReadyError, OverloadedError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Completed(Generic[Result]):
    """A result, and where its time went."""

    result: Result
    queue_seconds: float
    run_seconds: float  # of the whole batch


@dataclass
class Waiting(Generic[Item, Result]):
    item: Item
    future: asyncio.Future[Completed[Result]]
    since: float


class Batcher(Generic[Item, Result]):
    """An async context manager around ``run``, which maps a list of items to as many results in a thread.

    Args:
        run: called with 1 to ``max_batch`` items, never twice at a time.
        max_batch: items in one call at most.
        max_wait: seconds that a batch waits for more items before it runs.
        max_waiting: items that may wait; one more is refused.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result]],
        *,
        max_batch: int,
        max_wait: float = 0.0,
        max_waiting: int,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._max_waiting = max_waiting
        self._waiting: deque[Waiting[Item, Result]] = deque()
        self._arrived = asyncio.Event()
        self._open = False
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="batcher")
        self._worker: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._open = True
        self._worker = asyncio.create_task(self._work(), name="batcher")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take nothing more, finish what waits, and end."""
        self._open = False
        self._arrived.set()
        try:
            await self._worker
        finally:
            self._executor.shutdown(wait=False, cancel_futures=True)

    async def submit(self, item: Item) -> Completed[Result]:
        """Wait for an item's result.

        Raises:
            OverloadedError: too many items wait already.
            NotReadyError: the batcher is closed, or was closed by force before the item's turn.
            Exception: whatever ``run`` raised for the batch that the item was in.
        """
        if not self._open:
            raise NotReadyError("The service is stopping.")
        if len(self._waiting) >= self._max_waiting:
            raise OverloadedError("Too many requests wait already.")
        future: asyncio.Future[Completed[Result]] = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(item, future, time.perf_counter()))
        self._arrived.set()
        return await future

    async def _work(self) -> None:
        try:
            while self._open or self._waiting:
                if not self._waiting:
                    self._arrived.clear()
                    await self._arrived.wait()
                if self._max_wait and self._open and len(self._waiting) < self._max_batch:
                    await asyncio.sleep(self._max_wait)
                if batch := self._next_batch():
                    await self._run_batch(batch)
        finally:  # reached with items left only if this task was cancelled
            self._open = False
            for waiting in self._waiting:
                settle(waiting, NotReadyError("The service is stopping."))

    def _next_batch(self) -> list[Waiting[Item, Result]]:
        """Take what is first in line, leaving out those whose caller has gone."""
        batch: list[Waiting[Item, Result]] = []
        while self._waiting and len(batch) < self._max_batch:
            waiting = self._waiting.popleft()
            if not waiting.future.done():
                batch.append(waiting)
        return batch

    async def _run_batch(self, batch: list[Waiting[Item, Result]]) -> None:
        started = time.perf_counter()
        items = [waiting.item for waiting in batch]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._executor, self._run, items)
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} items went in and {len(results)} results came out")
        except asyncio.CancelledError:
            for waiting in batch:
                settle(waiting, NotReadyError("The service is stopping."))
            raise
        except Exception as error:  # whatever it is, it belongs to those who wait, and the next batch may do better
            for waiting in batch:
                settle(waiting, error)
            return
        ran = time.perf_counter() - started
        for waiting, result in zip(batch, results, strict=True):
            settle(waiting, Completed(result, started - waiting.since, ran))


def settle(waiting: Waiting[Item, Result], outcome: Completed[Result] | Exception) -> None:
    """End an item's wait, unless its caller has gone."""
    if waiting.future.done():
        return
    if isinstance(outcome, Exception):
        waiting.future.set_exception(outcome)
    else:
        waiting.future.set_result(outcome)
