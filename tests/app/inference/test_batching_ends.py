"""The batcher: each item ends once, with its own result or an exception, whatever breaks."""

import asyncio
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import DeadlineError, NotReadyError, OverloadedError
from app.inference.batching import Batcher, Completed
from tests.app.inference.squares import THREAD, Squares, run, submit


class BrokenExecutor(ThreadPoolExecutor):
    """Its thread cannot start."""

    def __init__(self) -> None:
        super().__init__(1, initializer=self._fail)

    def _fail(self) -> None:
        raise OSError("no thread")


@pytest.mark.parametrize("cancel", [True, False])
def test_items_end_after_their_executor_was_shut_down_by_force(cancel: bool) -> None:
    """The batch that runs ends with its results. All others end with them or with NotReadyError, whether they were
    submitted before or after, and the batcher can be closed."""

    async def check() -> None:
        executor = ThreadPoolExecutor(1)
        async with Batcher(Squares(seconds=0.05), executor, max_batch=2, max_waiting=100) as batcher:
            running = asyncio.create_task(submit(batcher, 3))
            await asyncio.sleep(0.02)
            waiting = [asyncio.create_task(submit(batcher, item)) for item in range(5)]
            executor.shutdown(wait=False, cancel_futures=cancel)
            assert (await running).result == 9
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} <= {Completed, NotReadyError}
            await asyncio.to_thread(executor.shutdown)  # until then, the batch that runs may take further items
            late = await asyncio.gather(*(submit(batcher, item) for item in range(5)), return_exceptions=True)
            assert {type(outcome) for outcome in late} == {NotReadyError}

    run(check)


def test_items_end_if_their_executor_is_broken() -> None:
    """If no thread can start, every item ends with NotReadyError."""

    async def check() -> None:
        async with Batcher(Squares(), BrokenExecutor(), max_batch=2, max_waiting=100) as batcher:
            for _ in range(2):
                outcomes = await asyncio.gather(*(submit(batcher, item) for item in range(5)), return_exceptions=True)
                assert all(isinstance(outcome, NotReadyError) for outcome in outcomes)

    run(check)


@pytest.mark.parametrize("executor", [THREAD, None])
@pytest.mark.parametrize("error", [StopIteration, asyncio.CancelledError, SystemExit, GeneratorExit])
def test_items_end_whatever_is_raised(executor: Executor | None, error: type[BaseException]) -> None:
    """An exception that no future takes, or that ends threads, ends the items of its batch and no others."""

    def work(items: list[int]) -> Sequence[int]:
        if -1 in items:
            raise error
        return items

    async def check() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: None)
        async with Batcher(work, executor, max_batch=1, max_waiting=100) as batcher:
            tasks = [asyncio.create_task(submit(batcher, item)) for item in (1, -1, 2)]
            first, failed, last = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, Completed)
        assert isinstance(failed, RuntimeError | NotReadyError)
        assert isinstance(last, Completed | NotReadyError)

    if executor is None and error is SystemExit:
        with pytest.raises(SystemExit):  # it ends the loop, as it should
            run(check)
    else:
        run(check)


@pytest.mark.parametrize("executor", [THREAD, None])
def test_items_end_if_the_callback_fails(executor: Executor | None) -> None:
    """A failure of ``on_batch`` concerns neither the items nor the next batch."""

    def fail(size: int, seconds: float) -> None:
        raise ValueError("a failure of the metrics")

    async def check() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: None)
        async with Batcher(Squares(), executor, max_batch=1, max_waiting=100, on_batch=fail) as batcher:
            done = await asyncio.gather(*(submit(batcher, item) for item in range(5)))
        assert [completed.result for completed in done] == [0, 1, 4, 9, 16]

    run(check)


def test_items_end_if_closing_is_cancelled() -> None:
    """If a batch hangs and closing is cancelled, its items and those behind it end with NotReadyError."""
    hangs = threading.Event()

    def work(items: list[int]) -> Sequence[int]:
        hangs.wait(10)
        return items

    async def check() -> None:
        batcher = Batcher(work, THREAD, max_batch=1, max_waiting=100)
        await batcher.__aenter__()
        tasks = [asyncio.create_task(submit(batcher, item)) for item in range(3)]
        await asyncio.sleep(0.02)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batcher.__aexit__(None, None, None), 0.05)
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert all(isinstance(outcome, NotReadyError) for outcome in outcomes)

    try:
        run(check)
    finally:
        hangs.set()


@given(
    st.lists(
        st.tuples(
            st.integers(-1, 9), st.floats(0, 0.003), st.booleans()
        ),  # item, pause before it, whether the caller leaves
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 5),
    st.integers(1, 10),
    st.sampled_from([THREAD, None]),
)
@settings(max_examples=60, deadline=None)
def test_each_item_ends_once(
    arrivals: list[tuple[int, float, bool]], max_batch: int, max_waiting: int, executor: Executor | None
) -> None:
    """Each item ends once and correctly, in a thread and in the loop, whatever arrives, leaves or fails."""

    async def check() -> None:
        squares = Squares(seconds=0.001)
        async with Batcher(squares, executor, max_batch=max_batch, max_waiting=max_waiting) as batcher:
            tasks = []
            for item, pause, leaves in arrivals:
                await asyncio.sleep(pause)
                task = asyncio.create_task(submit(batcher, item))
                tasks.append(task)
                if leaves:
                    await asyncio.sleep(0)
                    task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for (item, _, leaves), outcome in zip(arrivals, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                left = leaves and isinstance(outcome, asyncio.CancelledError)
                assert left or isinstance(outcome, OverloadedError | ValueError)
            else:
                assert outcome.result == item * item
        assert all(1 <= len(batch) <= max_batch for batch in squares.batches)

    run(check)


@dataclass(frozen=True)
class Caller:
    """What a caller does that submits an item."""

    turns_before: int  # turns of the loop since the previous caller
    pauses: bool  # for longer than a batch takes
    leaves_after: int | None  # after so many turns of the loop; 0 means before the item starts
    fails: bool  # makes the item's batch fail
    in_time: bool  # whether the deadline is in the future


CALLERS = st.builds(
    Caller,
    turns_before=st.integers(0, 3),
    pauses=st.sampled_from([False] * 7 + [True]),
    leaves_after=st.one_of(st.none(), st.none(), st.integers(0, 6)),
    fails=st.sampled_from([False] * 9 + [True]),
    in_time=st.sampled_from([True] * 9 + [False]),
)


@given(
    st.lists(CALLERS, min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.0, 0.001]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_each_item_ends_once_whatever_its_caller_does(
    callers: list[Caller], max_batch: int, max_waiting: int, max_wait_s: float, in_thread: bool, closes_early: bool
) -> None:
    """Each item ends once and correctly, and is in one batch at most. It is in none if its caller left before the batch
    started, or if its deadline had passed. The batcher can be closed at any time."""
    batches: list[list[int]] = []
    left: set[int] = set()
    gone = set[int]()  # had left when the last batch ended; the next batch was formed after that or not at all
    computed_for_nobody = set[int]()
    faults: list[dict[str, Any]] = []

    def work(items: list[int]) -> Sequence[int]:
        batches.append(items)
        computed_for_nobody.update((gone if in_thread else left) & set(items))
        time.sleep(0.0005)
        gone.update(left)
        if any(callers[item].fails for item in items):
            raise ValueError("a failure of the batch")
        return [item * item for item in items]

    def leave(item: int, task: asyncio.Task[Completed[int]]) -> None:
        if not task.done():
            task.cancel()
            left.add(item)

    async def check() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context))
        tasks: list[asyncio.Task[Completed[int]]] = []
        leaving: list[asyncio.Task[None]] = []

        async def leave_later(item: int, turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            leave(item, tasks[item])

        batcher = Batcher(
            work, THREAD if in_thread else None, max_batch=max_batch, max_wait_s=max_wait_s, max_waiting=max_waiting
        )
        async with batcher:
            for item, caller in enumerate(callers):
                for _ in range(caller.turns_before):
                    await asyncio.sleep(0)
                if caller.pauses:
                    await asyncio.sleep(0.001)
                deadline = math.inf if caller.in_time else time.perf_counter() - 1
                tasks.append(asyncio.create_task(submit(batcher, item, deadline)))
                if caller.leaves_after == 0:
                    leave(item, tasks[item])
                elif caller.leaves_after:
                    leaving.append(asyncio.create_task(leave_later(item, caller.leaves_after)))
            if not closes_early:
                await asyncio.wait(tasks)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*leaving)
        assert batcher.queue_size == 0
        started = [item for batch in batches for item in batch]
        assert len(started) == len(set(started)), "an item was in two batches"
        assert not computed_for_nobody
        assert all(1 <= len(batch) <= max_batch for batch in batches)
        assert all(callers[item].in_time for item in started)
        for item, (caller, outcome) in enumerate(zip(callers, outcomes, strict=True)):
            if isinstance(outcome, Completed):
                assert outcome.result == item * item
                assert item in started
            elif isinstance(outcome, asyncio.CancelledError):
                assert caller.leaves_after is not None
            elif isinstance(outcome, ValueError):
                assert item in started
            elif isinstance(outcome, DeadlineError):
                assert not caller.in_time
            elif isinstance(outcome, NotReadyError):
                assert closes_early
            else:
                assert isinstance(outcome, OverloadedError)
                assert item not in started

    run(check)
    assert faults == []
