"""Requests that wait at the same time, run as one batch.

While one batch computes, the next one forms; nothing waits for company unless told to. A batch runs in an executor, or,
where that would cost more than the batch, in the event loop: then what comes in turn after turn is one batch, until a
turn brings nothing. Every item that is accepted gets a result or an exception, once. Knows nothing of images, networks
or HTTP.
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
    """A result, and where its time went."""

    result: Result
    queue_seconds: float
    run_seconds: float  # of the whole batch


@dataclass(slots=True)
class Waiting(Generic[Item, Result]):
    item: Item
    future: asyncio.Future[Completed[Result]]
    since: float
    deadline: float  # by time.perf_counter


class Batcher(Generic[Item, Result]):
    """An async context manager around ``run``, which maps a list of items to as many results.

    Args:
        run: called with 1 to ``max_batch`` items, never twice at a time.
        executor: where it is called; None is the event loop.
        max_batch: items in one call at most.
        max_wait_s: seconds that a batch waits for more items before it runs.
        max_waiting: items that may wait; one more is refused.
        fair: in the event loop, whether no more time is taken at once than others had since the last batch, or since
            the first item came; else all batches that are full run.
        on_batch: told of each batch that ran: how many items it had, and how many seconds it took.
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
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._max_waiting = max_waiting
        self._fair = fair
        self._ran_until = 0.0  # in the event loop
        self._on_batch = on_batch
        self._executor = executor
        self._waiting: deque[Waiting[Item, Result]] = deque()
        self._open = False
        self._busy = False  # a batch runs, or is about to
        self._seen = 0  # items that waited when the loop last turned
        self._ended = asyncio.Event()  # set when there is nothing more to do, after closing

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take nothing more, finish what waits, and end."""
        self._open = False
        try:
            if self._busy:
                await self._ended.wait()
        finally:  # reached with items left only if this was cancelled
            while self._waiting:
                settle(self._waiting.popleft(), NotReadyError("The service is stopping."))

    @property
    def waiting(self) -> int:
        """Items that wait for their batch."""
        return len(self._waiting)

    async def submit(self, item: Item, deadline: float = math.inf) -> Completed[Result]:
        """Wait for an item's result, of which no work is begun after ``deadline``, by ``time.perf_counter``.

        Raises:
            OverloadedError: too many items wait already.
            DeadlineError: the item's time was over before its turn came.
            NotReadyError: the batcher is closed, or was closed by force before the item's turn.
            Exception: whatever ``run`` raised for the batch that the item was in.
        """
        if not self._open:
            raise NotReadyError("The service is stopping.")
        if len(self._waiting) >= self._max_waiting:
            raise OverloadedError("Too many requests wait already.")
        future: asyncio.Future[Completed[Result]] = self._loop.create_future()
        self._waiting.append(Waiting(item, future, time.perf_counter(), deadline))
        if not self._busy:
            self._schedule()
        return await future

    def _schedule(self) -> None:
        """Have a batch start, at the end of this turn of the loop or when it has waited for company."""
        self._busy = True
        self._seen = len(self._waiting)
        if self._max_wait_s and self._open and len(self._waiting) < self._max_batch:
            self._loop.call_later(self._max_wait_s, self._start)
        else:
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        if self._executor is None and self._seen < len(self._waiting) < self._max_batch:
            # This turn of the loop brought more, and so may the next: what comes while others are being prepared goes
            # with them. It is no time lost, for a turn that brings nothing takes none.
            self._seen = len(self._waiting)
            self._loop.call_soon(self._start)
            return
        if self._executor is None:
            # All batches that are full, for under overload the loop's next turn may be far away.
            began = time.perf_counter()
            others_had = began - max(self._ran_until, self._waiting[0].since) if self._waiting else 0.0
            while batch := self._take():
                self._finish(batch, *self._outcome(batch))
                self._ran_until = time.perf_counter()
                if len(self._waiting) < self._max_batch or (self._fair and self._ran_until - began > others_had):
                    break
            self._end()
        elif batch := self._take():
            working = self._loop.run_in_executor(self._executor, self._work, batch)
            working.add_done_callback(lambda done: self._give_up(batch) if done.cancelled() else self._end())
        else:
            self._end()

    def _work(self, batch: list[Waiting[Item, Result]]) -> None:
        """Run a batch in the executor, and then what has formed meanwhile, without a turn of the loop between."""
        while batch:
            self._loop.call_soon_threadsafe(self._finish, batch, *self._outcome(batch))
            if self._max_wait_s and len(self._waiting) < self._max_batch:
                return
            batch = self._take()

    def _take(self) -> list[Waiting[Item, Result]]:
        """Take what is first in line, leaving out those whose caller has gone or whose time is over."""
        now = time.perf_counter()
        batch: list[Waiting[Item, Result]] = []
        while len(batch) < self._max_batch:
            try:
                waiting = self._waiting.popleft()
            except IndexError:  # and no look before it: at a forced end another thread empties the line
                break
            if waiting.deadline < now:
                self._loop.call_soon_threadsafe(settle, waiting, DeadlineError())
            elif not waiting.future.done():
                batch.append(waiting)
        return batch

    def _outcome(self, batch: list[Waiting[Item, Result]]) -> tuple[float, float, Sequence[Result] | Exception]:
        """Run a batch: when that began and how long it took, and the results, or why there are none."""
        started = time.perf_counter()
        try:
            results = self._run([waiting.item for waiting in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} items went in and {len(results)} results came out")
        except Exception as error:  # whatever it is, it belongs to those who wait, and the next batch may do better
            return started, 0.0, error
        return started, time.perf_counter() - started, results

    def _finish(
        self, batch: list[Waiting[Item, Result]], started: float, ran: float, outcome: Sequence[Result] | Exception
    ) -> None:
        if isinstance(outcome, Exception):
            for waiting in batch:
                settle(waiting, outcome)
            return
        self._on_batch(len(batch), ran)
        for waiting, result in zip(batch, outcome, strict=True):
            settle(waiting, Completed(result, started - waiting.since, ran))

    def _give_up(self, batch: list[Waiting[Item, Result]]) -> None:
        """The executor was shut down with the batch in its queue."""
        for waiting in batch:
            settle(waiting, NotReadyError("The service is stopping."))
        self._end()

    def _end(self) -> None:
        """Go on with what has come in meanwhile."""
        if self._waiting:
            self._schedule()
            return
        self._busy = False
        if not self._open:
            self._ended.set()


def settle(waiting: Waiting[Item, Result], outcome: Completed[Result] | Exception) -> None:
    """End an item's wait, unless its caller has gone."""
    if waiting.future.done():
        return
    if isinstance(outcome, Exception):
        waiting.future.set_exception(outcome)
    else:
        waiting.future.set_result(outcome)
