"""The batcher: each item ends once, with its own result or an exception."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import DeadlineError, NotReadyError, OverloadedError
from app.inference import batching
from app.inference.batching import Batcher, Completed

THREAD = ThreadPoolExecutor(1)


class Squares:
    """A run function that records its batches. It may be slow, and fails for negative numbers."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self.seconds = seconds
        self.threads: set[int] = set()
        self.busy = False

    def __call__(self, items: list[int]) -> Sequence[int]:
        assert not self.busy, "two batches ran at the same time"
        self.busy = True
        self.batches.append(items)
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        self.busy = False
        if any(item < 0 for item in items):
            raise ValueError("a negative number")
        return [item * item for item in items]


async def submit(batcher: Batcher[int, int], item: int, deadline: float = math.inf) -> Completed[int]:
    """Submit an item when the task runs, and wait for its result."""
    return await batcher.submit(item, deadline)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def test_an_item_gets_its_own_result() -> None:
    """Each item gets its own result, whichever batch it is in."""

    async def check() -> None:
        async with Batcher(Squares(), THREAD, max_batch=3, max_waiting=100) as batcher:
            done = await asyncio.gather(*(submit(batcher, item) for item in range(20)))
        assert [completed.result for completed in done] == [item * item for item in range(20)]

    run(check)


def test_items_that_wait_while_a_batch_runs_form_the_next_batch() -> None:
    """Items that arrive meanwhile form batches in order, up to the limit. They run in another thread than the loop."""

    async def check() -> None:
        squares = Squares(seconds=0.05)
        async with Batcher(squares, THREAD, max_batch=4, max_waiting=100) as batcher:
            first = asyncio.create_task(submit(batcher, 0))
            await asyncio.sleep(0.02)
            rest = [asyncio.create_task(submit(batcher, item)) for item in range(1, 8)]
            await asyncio.gather(first, *rest)
        assert squares.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]
        assert threading.get_ident() not in squares.threads

    run(check)


def test_in_the_loop_items_of_one_turn_form_a_batch() -> None:
    """Without an executor, items submitted in one turn of the loop share a batch, and no thread is used."""

    async def check() -> None:
        squares = Squares()
        async with Batcher(squares, None, max_batch=4, max_waiting=100) as batcher:
            await asyncio.gather(*(submit(batcher, item) for item in range(6)))
        assert squares.batches == [[0, 1, 2, 3], [4, 5]]
        assert squares.threads == {threading.get_ident()}

    run(check)


@pytest.mark.parametrize("others_seconds", [0.0, 0.1])
def test_a_fair_batcher_takes_as_much_time_as_other_work(
    others_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One batch runs per turn of the loop if other work is short, and many batches run if other work is long.

    The test moves the clock: on a busy machine, a process that has to wait for a core counts as other work.
    """
    now = 0.0
    monkeypatch.setattr(batching, "time", SimpleNamespace(perf_counter=lambda: now))
    batches: list[list[int]] = []

    def run_batch(items: list[int]) -> list[int]:
        nonlocal now
        now += 0.005
        batches.append(items)
        return items

    async def check() -> None:
        nonlocal now
        async with Batcher(run_batch, None, max_batch=2, max_waiting=100, fair=True) as batcher:
            items = [asyncio.create_task(submit(batcher, item)) for item in range(40)]
            while not batches:
                await asyncio.sleep(0)
                if not batches:
                    now += others_seconds
            assert len(batches) == (20 if others_seconds else 1)
            await asyncio.gather(*items)
        assert sum(len(batch) for batch in batches) == 40

    run(check)


def test_each_batch_is_reported() -> None:
    """The callback gets the size and the duration of each batch."""

    async def check() -> None:
        reports: list[tuple[int, float]] = []
        batcher = Batcher(
            Squares(seconds=0.02), None, max_batch=4, max_waiting=100, on_batch=lambda *batch: reports.append(batch)
        )
        async with batcher:
            await asyncio.gather(*(submit(batcher, item) for item in range(6)))
        assert [size for size, _ in reports] == [4, 2]
        assert all(0.02 <= seconds < 1 for _, seconds in reports)

    run(check)


def test_a_batch_waits_for_more_items_only_if_asked_to() -> None:
    """Items that arrive within max_wait_s share a batch. Without it, each item runs at once."""

    async def check() -> None:
        for wait, batches in ((0.0, 3), (0.2, 1)):
            squares = Squares()
            async with Batcher(squares, THREAD, max_batch=8, max_wait_s=wait, max_waiting=100) as batcher:
                tasks = []
                for item in range(3):
                    tasks.append(asyncio.create_task(submit(batcher, item)))
                    await asyncio.sleep(0.02)
                await asyncio.gather(*tasks)
            assert len(squares.batches) == batches

    run(check)


def test_a_failure_concerns_only_its_batch() -> None:
    """The items of a failed batch get its exception. The next batch succeeds."""

    async def check() -> None:
        async with Batcher(Squares(), THREAD, max_batch=2, max_waiting=100) as batcher:
            outcomes = await asyncio.gather(*(submit(batcher, item) for item in (1, -1)), return_exceptions=True)
            assert all(isinstance(outcome, ValueError) for outcome in outcomes)
            assert (await submit(batcher, 3)).result == 9

    run(check)


def test_a_wrong_number_of_results_is_a_failure() -> None:
    """If the number of results is wrong, the items get an exception instead of a result."""

    async def check() -> None:
        def lossy(items: list[int]) -> Sequence[int]:
            return items[:-1]

        async with Batcher(lossy, THREAD, max_batch=2, max_waiting=100) as batcher:
            with pytest.raises(RuntimeError, match="1 items went in and 0 results came out"):
                await submit(batcher, 1)

    run(check)


def test_an_item_over_the_limit_is_refused_at_once() -> None:
    """The queue is bounded. An item over the limit is refused without waiting, and the waiting ones get results."""

    async def check() -> None:
        async with Batcher(Squares(seconds=0.05), THREAD, max_batch=1, max_waiting=2) as batcher:
            running = asyncio.create_task(submit(batcher, 1))
            await asyncio.sleep(0.02)
            waiting = [asyncio.create_task(submit(batcher, item)) for item in (2, 3)]
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError):
                await submit(batcher, 4)
            assert [c.result for c in await asyncio.gather(running, *waiting)] == [1, 4, 9]

    run(check)


def test_an_item_whose_caller_has_gone_is_not_computed() -> None:
    """An item that is cancelled before its turn is in no batch."""

    async def check() -> None:
        squares = Squares(seconds=0.05)
        async with Batcher(squares, THREAD, max_batch=8, max_waiting=100) as batcher:
            first = asyncio.create_task(submit(batcher, 1))
            await asyncio.sleep(0.02)
            gone, stays = asyncio.create_task(submit(batcher, 2)), asyncio.create_task(submit(batcher, 3))
            await asyncio.sleep(0)
            gone.cancel()
            assert (await first).result == 1
            assert (await stays).result == 9
        assert squares.batches == [[1], [3]]

    run(check)


def test_closing_finishes_waiting_items_and_accepts_no_more() -> None:
    """Items submitted before the close get results. Items submitted later get NotReadyError."""

    async def check() -> None:
        async with Batcher(Squares(seconds=0.02), THREAD, max_batch=1, max_waiting=100) as batcher:
            tasks = [asyncio.create_task(submit(batcher, item)) for item in range(5)]
            await asyncio.sleep(0)
        assert [(await task).result for task in tasks] == [0, 1, 4, 9, 16]
        with pytest.raises(NotReadyError):
            await submit(batcher, 1)

    run(check)


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


def test_waiting_and_computing_are_measured_separately() -> None:
    """A result says how long the item waited, and how long its batch ran."""

    async def check() -> None:
        async with Batcher(Squares(seconds=0.05), THREAD, max_batch=1, max_waiting=100) as batcher:
            first, second = await asyncio.gather(submit(batcher, 1), submit(batcher, 2))
        assert first.queue_seconds < 0.04 < first.run_seconds
        assert second.queue_seconds >= first.run_seconds * 0.9

    run(check)


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
