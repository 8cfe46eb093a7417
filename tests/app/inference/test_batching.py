"""The batcher: which items form a batch, when it runs, and what is refused."""

import asyncio
import threading
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from app.errors import NotReadyError, OverloadedError
from app.inference import batching
from app.inference.batching import Batcher
from tests.app.inference.squares import THREAD, Squares, run, submit


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


def test_waiting_and_computing_are_measured_separately() -> None:
    """A result says how long the item waited, and how long its batch ran."""

    async def check() -> None:
        async with Batcher(Squares(seconds=0.05), THREAD, max_batch=1, max_waiting=100) as batcher:
            first, second = await asyncio.gather(submit(batcher, 1), submit(batcher, 2))
        assert first.queue_seconds < 0.04 < first.run_seconds
        assert second.queue_seconds >= first.run_seconds * 0.9

    run(check)
