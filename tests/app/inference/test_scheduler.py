"""The scheduler: answers do not depend on the batch, and no request holds up the others."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import numpy as np
import pytest

from app.errors import NotReadyError, OverloadedError
from app.imaging.digit_image import Images
from app.inference.batching import Completed
from app.inference.cascade import CascadeEngine
from app.inference.engine_selection import open_engine
from app.inference.engines import Engine
from app.inference.model_folder import ModelFolder, Thresholds
from app.inference.scheduler import CAREFUL_SLICE, CAREFUL_SLICE_IN_LOOP, SLICE, Scheduler
from app.inference.scores import Score, Scores
from tests.support.pictures import Grey

Digits = list[tuple[int, Grey]]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


class FakeEngine:
    """An engine whose confidence is the brightness of the first pixel. It records its batches and threads."""

    name: Literal["onnxruntime"] = "onnxruntime"
    device = "cpu"

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[int] = []
        self.threads: set[int] = set()
        self.seconds = seconds

    def __call__(self, images: Images) -> Scores:
        self.batches.append(len(images))
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        sure = images[:, 0, 0].astype(np.float32) / 255
        return Scores(np.stack([sure] + [(1 - sure) / 9] * 9, axis=1), np.ones(len(images), np.float32))


async def read_one(scheduler: Scheduler, pixels: Grey) -> Completed[Score]:
    """Read a picture when the task runs, and wait for its score."""
    return await scheduler.read_one(pixels)


def picture(brightness: int) -> Grey:
    return np.full((28, 28), brightness, np.uint8)


def make_cascade(fast: Engine, careful: Engine) -> CascadeEngine:
    return CascadeEngine(fast, careful, Thresholds(confidence=0.5, typicality=0.5))


def test_an_answer_does_not_depend_on_its_batch(engine: Engine, digits: Digits) -> None:
    """A picture gets the same numbers to the last bit alone, with others, in a large batch, and from the engine."""
    images = np.stack([image for _, image in digits])

    async def check() -> None:
        async with Scheduler(engine, in_loop=True) as scheduler:
            alone = [(await scheduler.read_one(image)).result for image in images]
            together = await asyncio.gather(*(scheduler.read_one(image) for image in images))
            assert [completed.result.probabilities for completed in together] == [one.probabilities for one in alone]
            assert [completed.result.typicality for completed in together] == [one.typicality for one in alone]
            many = await scheduler.read_many(np.concatenate([images] * 5))
        expected = engine(images)
        for start in range(0, len(many.typicality), len(images)):
            part = slice(start, start + len(images))
            np.testing.assert_array_equal(many.probabilities[part], expected.probabilities)
            np.testing.assert_array_equal(many.typicality[part], expected.typicality)

    run(check)


@pytest.mark.parametrize("network", ["fast", "careful"])
def test_a_released_network_gives_the_same_scores_in_any_batch(
    released: ModelFolder, network: str, digits: Digits
) -> None:
    """Both released networks give a digit the same scores, whatever the size of its batch."""
    engine = open_engine(released, "onnxruntime", "cpu", 1, network)
    images = np.stack([image for _, image in digits])
    expected = engine(images)
    for size in (1, 3, 7, 16):
        for start in range(0, len(images), size):
            part = engine(images[start : start + size])
            np.testing.assert_array_equal(part.probabilities, expected.probabilities[start : start + size])


@pytest.mark.parametrize("in_loop", [False, True])
def test_the_careful_network_reads_only_doubtful_pictures(in_loop: bool) -> None:
    """It reads them in a thread or in the loop, and each answer goes to the right picture."""
    fast, careful = FakeEngine(), FakeEngine()

    async def check() -> None:
        async with Scheduler(make_cascade(fast, careful), in_loop=True, careful_in_loop=in_loop) as scheduler:
            done = await asyncio.gather(*(scheduler.read_one(picture(level)) for level in (255, 25, 255, 51)))
            assert [round(completed.result.probabilities[0], 1) for completed in done] == [1.0, 0.1, 1.0, 0.2]
            many = await scheduler.read_many(np.stack([picture(level) for level in (25, 255, 51)]))
            np.testing.assert_allclose(many.probabilities[:, 0], [25 / 255, 1, 51 / 255], rtol=1e-6)
            await scheduler.read_many(np.stack([picture(25)] * 3), second_opinion=False)
        assert fast.threads == {threading.get_ident()}
        assert (careful.threads == fast.threads) is in_loop
        assert (sum(fast.batches), sum(careful.batches)) == (4 + 3 + 3, 2 + 2)

    run(check)


@pytest.mark.parametrize(("in_loop", "careful_slice"), [(False, CAREFUL_SLICE), (True, CAREFUL_SLICE_IN_LOOP)])
def test_single_pictures_run_between_the_slices_of_a_large_batch(in_loop: bool, careful_slice: int) -> None:
    """A single picture waits for at most one slice of a large batch, and not for the whole batch."""
    fast, careful = FakeEngine(seconds=0.002), FakeEngine(seconds=0.02)

    async def check() -> None:
        async with Scheduler(make_cascade(fast, careful), in_loop=True, careful_in_loop=in_loop) as scheduler:
            large = asyncio.create_task(scheduler.read_many(np.stack([picture(25)] * 300)))
            await asyncio.sleep(0)
            for _ in range(5):
                assert (await scheduler.read_one(picture(255))).result == Score([1.0] + [0.0] * 9, 1.0)
                assert not large.done()
            await large
        assert max(fast.batches) == SLICE
        assert max(careful.batches) == careful_slice

    run(check)


def test_a_slice_lets_single_pictures_go_first() -> None:
    """A picture that is waiting is read before a slice that arrives in the same turn of the loop."""
    fast = FakeEngine()

    async def check() -> None:
        async with Scheduler(fast, in_loop=True) as scheduler:
            await asyncio.gather(scheduler.read_one(picture(255)), scheduler.read_many(np.stack([picture(25)] * SLICE)))
        assert fast.batches == [1, SLICE]

    run(check)


def test_a_slice_does_not_wait_forever() -> None:
    """Large batches continue while a single picture waits for its batch to fill."""
    fast = FakeEngine()

    async def check() -> None:
        async with Scheduler(fast, in_loop=True, batch_wait_s=0.5) as scheduler:
            single = asyncio.create_task(read_one(scheduler, picture(255)))
            await asyncio.sleep(0)
            await scheduler.read_many(np.stack([picture(25)] * 3 * SLICE))
            assert not single.done()
            await single
        assert fast.batches == [SLICE] * 3 + [1]

    run(check)


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_flood_of_doubtful_pictures_does_not_delay_clear_ones(in_loop: bool) -> None:
    """While 200 pictures wait for the careful network, a clear picture does not wait for all of them."""
    fast, careful = FakeEngine(), FakeEngine(seconds=0.01)

    async def check() -> None:
        async with Scheduler(make_cascade(fast, careful), in_loop=True, careful_in_loop=in_loop) as scheduler:
            flood = [asyncio.create_task(read_one(scheduler, picture(25))) for _ in range(200)]
            await flood[0]
            for _ in range(2):
                assert (await scheduler.read_one(picture(255))).result == Score([1.0] + [0.0] * 9, 1.0)
                assert not all(doubtful.done() for doubtful in flood)
            await asyncio.gather(*flood)

    run(check)


def test_a_heavy_engine_does_not_block_the_loop() -> None:
    """An engine that is too slow for the loop runs in a thread, for single pictures and for large batches."""
    heavy = FakeEngine(seconds=0.05)

    async def check() -> None:
        async with Scheduler(heavy, in_loop=False) as scheduler:
            work = asyncio.gather(scheduler.read_one(picture(255)), scheduler.read_many(np.stack([picture(255)] * 40)))
            turns = 0
            while not work.done():
                await asyncio.sleep(0.001)
                turns += 1
            assert turns > 20
        assert threading.get_ident() not in heavy.threads

    run(check)


def test_waiting_large_batches_are_limited() -> None:
    """A large batch over the limit is refused at once. If it is the only one, any size is accepted."""

    async def check() -> None:
        async with Scheduler(FakeEngine(seconds=0.01), in_loop=True, max_bulk=100) as scheduler:
            first = asyncio.create_task(scheduler.read_many(np.stack([picture(255)] * 150)))
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError):
                await scheduler.read_many(np.stack([picture(255)] * 10))
            assert len((await first).typicality) == 150
            assert len((await scheduler.read_many(np.stack([picture(255)] * 10))).typicality) == 10

    run(check)


def test_large_batches_end_when_the_scheduler_is_closed() -> None:
    """Their slices that wait for the thread, or come later, are refused. No batch is left without an end."""

    async def check() -> None:
        scheduler = Scheduler(FakeEngine(seconds=0.05), in_loop=False)
        await scheduler.open()
        images = np.zeros((3 * SLICE, 28, 28), np.uint8)
        batches = [asyncio.create_task(scheduler.read_many(images)) for _ in range(2)]
        await asyncio.sleep(0.02)
        await scheduler.close()
        outcomes = await asyncio.gather(*batches, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [NotReadyError, NotReadyError]

    run(check)
