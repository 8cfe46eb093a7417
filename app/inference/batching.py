"""Runs items that wait at the same time as one batch.

The next batch forms while the current one runs. Nothing waits for more items unless ``max_wait_s`` says so. A batch
runs in an executor. If that would cost more than the batch itself, it runs in the event loop: then a batch collects
items over several turns of the loop, until a turn adds none. Each accepted item gets one result or one exception.

This module knows nothing of images, networks or HTTP.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

from app.errors import DeadlineError, NotReadyError, OverloadedError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Completed(NamedTuple, Generic[Result]):
    """A result, and how long it took."""

    result: Result
    queue_seconds: float
    run_seconds: float  # of the whole batch, or of both batches


@dataclass(slots=True)
class QueuedItem(Generic[Item, Result]):
    """An item that waits for its batch."""

    item: Item
    future: asyncio.Future[Completed[Result]]
    queued_at: float  # by time.perf_counter, as is the deadline
    deadline: float
    queue_seconds: float = 0.0  # so far, in this batcher and in the one before it
    run_seconds: float = 0.0


class Batcher(Generic[Item, Result]):
    """An async context manager around ``run``, which maps a list of items to as many results.

    Args:
        run: Called with 1 to ``max_batch`` items. Calls do not overlap.
        executor: Where ``run`` is called. None calls it in the event loop.
        max_batch: How many items one call may get.
        max_wait_s: How many seconds a batch waits for more items before it runs.
        max_waiting: How many items may wait. Further ones are refused.
        fair: In the event loop, whether batches run only for as long as other work had since the last batch, or since
            the first item came. Otherwise every full batch runs at once.
        on_batch: Called after each batch with its size and its duration in seconds.
        second: Gets the items whose result is not good enough. Its result counts.
        needs_second: Called with each result. Returns whether it is not good enough.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result]],
        executor: Executor | None,
        *,
        max_batch: int,
        max_wait_s: float = 0.0,
        max_waiting: int,
        fair: bool = False,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
        second: "Batcher[Item, Result] | None" = None,
        needs_second: Callable[[Result], bool] = lambda result: False,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._max_waiting = max_waiting
        self._fair = fair
        self._last_end = 0.0  # when the last batch ended in the event loop
        self._on_batch = on_batch
        self._second, self._needs_second = second, needs_second
        self._executor = executor
        self._queue: deque[QueuedItem[Item, Result]] = deque()
        self._open = False
        self._batch: list[QueuedItem[Item, Result]] = []  # the last one that was taken from the queue
        self._busy = False  # a batch runs, or is about to
        self._last_size = 0  # of the queue, at the last turn of the loop
        self._drained = asyncio.Event()  # set after closing, when no work is left

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Accept no more items, and finish those that wait."""
        self._open = False
        try:
            if self._busy:
                await self._drained.wait()
        finally:  # items are left here only if this was cancelled
            self._refuse_batch()
            while self._queue:
                resolve(self._queue.popleft(), NotReadyError("The service is stopping."))

    @property
    def queue_size(self) -> int:
        """How many items wait for their batch."""
        return len(self._queue)

    def submit(self, item: Item, deadline: float = math.inf) -> asyncio.Future[Completed[Result]]:
        """Return an item's result, once it is there. Start no work after ``deadline``, by ``time.perf_counter``.

        The future may also get DeadlineError, because the deadline passed before the item's turn, NotReadyError,
        because the batcher or its executor was closed by force, or whatever ``run`` raised for the item's batch.
        Cancel it to skip the item.

        Raises:
            OverloadedError: Too many items are waiting.
            NotReadyError: The batcher is closed.
        """
        future: asyncio.Future[Completed[Result]] = self._loop.create_future()
        self._add(QueuedItem(item, future, time.perf_counter(), deadline))
        return future

    def _add(self, queued: QueuedItem[Item, Result]) -> None:
        """Queue an item. Raises what ``submit`` raises."""
        if not self._open:
            raise NotReadyError("The service is stopping.")
        if len(self._queue) >= self._max_waiting:
            raise OverloadedError("Too many requests are waiting.")
        self._queue.append(queued)
        if not self._busy:
            self._schedule()

    def _schedule(self) -> None:
        """Start a batch at the end of this turn of the loop, or after it has waited for more items."""
        self._busy = True
        self._last_size = len(self._queue)
        if self._max_wait_s and self._open and len(self._queue) < self._max_batch:
            self._loop.call_later(self._max_wait_s, self._start)
        else:
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        if self._executor is None and self._last_size < len(self._queue) < self._max_batch:
            # This turn of the loop added items, so the next one may, too. Items that arrive while others are being
            # prepared join their batch. This wastes no time: a turn that adds nothing takes none.
            self._last_size = len(self._queue)
            self._loop.call_soon(self._start)
            return
        if self._executor is None:
            # Run all full batches: under overload, the next turn of the loop may be far away.
            started = time.perf_counter()
            others_had = started - max(self._last_end, self._queue[0].queued_at) if self._queue else 0.0
            try:
                while batch := self._next_batch():
                    self._deliver(batch, *self._run_batch(batch))
                    self._last_end = time.perf_counter()
                    if len(self._queue) < self._max_batch or (self._fair and self._last_end - started > others_had):
                        break
            finally:
                self._continue()
        elif batch := self._next_batch():
            try:
                running = self._loop.run_in_executor(self._executor, self._run_in_executor, batch)
            except RuntimeError:  # the executor was shut down by force
                self._continue()
            else:
                running.add_done_callback(lambda done: self._continue())
        else:
            self._continue()

    def _run_in_executor(self, batch: list[QueuedItem[Item, Result]]) -> None:
        """Run a batch, then those that have formed meanwhile, without a turn of the loop in between."""
        while batch:
            self._loop.call_soon_threadsafe(self._deliver, batch, *self._run_batch(batch))
            if self._max_wait_s and len(self._queue) < self._max_batch:
                return
            batch = self._next_batch()

    def _next_batch(self) -> list[QueuedItem[Item, Result]]:
        """Take the next batch from the queue. Skip items whose caller has gone or whose deadline has passed."""
        now = time.perf_counter()
        batch = self._batch = []
        while len(batch) < self._max_batch:
            try:
                queued = self._queue.popleft()
            except IndexError:  # no check beforehand: when closed by force, another thread empties the queue
                break
            if queued.deadline < now:
                self._loop.call_soon_threadsafe(resolve, queued, DeadlineError())
            elif not queued.future.done():
                batch.append(queued)
        return batch

    def _run_batch(self, batch: list[QueuedItem[Item, Result]]) -> tuple[float, float, Sequence[Result] | Exception]:
        """Run a batch. Return when it started, how long it took, and its results or the exception."""
        started = time.perf_counter()
        try:
            results = self._run([queued.item for queued in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} items went in and {len(results)} results came out")
        except Exception as error:  # any exception goes to the callers, and the next batch may succeed
            # A future takes any exception but StopIteration.
            return started, 0.0, RuntimeError(repr(error)) if isinstance(error, StopIteration) else error
        return started, time.perf_counter() - started, results

    def _deliver(
        self,
        batch: list[QueuedItem[Item, Result]],
        started: float,
        seconds: float,
        outcome: Sequence[Result] | Exception,
    ) -> None:
        """Give each item of a batch its result, or all of them the exception."""
        if self._batch is batch:
            self._batch = []  # nothing is left to refuse, although some may go on to the second batcher
        if isinstance(outcome, Exception):
            for queued in batch:
                resolve(queued, outcome)
            return
        for queued, result in zip(batch, outcome, strict=True):
            queued.queue_seconds += started - queued.queued_at
            queued.run_seconds += seconds
            if self._second and self._needs_second(result):
                self._second.take_over(queued)
            else:
                resolve(queued, Completed(result, queued.queue_seconds, queued.run_seconds))
        self._on_batch(len(batch), seconds)

    def take_over(self, queued: QueuedItem[Item, Result]) -> None:
        """Run an item of another batcher again. If there is no room for it, its future gets the exception."""
        queued.queued_at = time.perf_counter()
        try:
            self._add(queued)
        except (NotReadyError, OverloadedError) as error:
            resolve(queued, error)

    def _refuse_batch(self) -> None:
        """Refuse what is left of the last batch: its executor was shut down by force, or could not run it."""
        for queued in self._batch:
            if not queued.future.done():
                resolve(queued, NotReadyError("The service is stopping."))

    def _continue(self) -> None:
        """Schedule the next batch, if items have arrived meanwhile."""
        self._refuse_batch()
        if self._queue:
            self._schedule()
            return
        self._busy = False
        if not self._open:
            self._drained.set()


def resolve(queued: QueuedItem[Item, Result], outcome: Completed[Result] | Exception) -> None:
    """End an item's wait, unless its caller has gone."""
    if queued.future.done():
        return
    if isinstance(outcome, Exception):
        queued.future.set_exception(outcome)
    else:
        queued.future.set_result(outcome)
