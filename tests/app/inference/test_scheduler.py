"""Inference: the same answer alone or in company, the careful network apart, large batches in slices."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import numpy as np
import pytest

from app.inference.model_folder import ModelFolder, Thresholds
from app.recognition.digit import Score
from app.imaging.digit_image import Images
from app.inference.cascade import CascadeEngine
from app.inference.engine_selection import open_engine
from app.inference.engines import Engine
from app.inference.scores import Scores
from app.errors import OverloadedError
from app.inference.scheduler import CAREFUL_SLICE_IN_LOOP, CAREFUL_SLICE, SLICE, Inference
from tests.support.pictures import Grey

Digits = list[tuple[int, Grey]]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


class Fake:
    """An engine that is as sure of a picture as its first pixel is bright, and remembers its batches and threads."""

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


def picture(brightness: int) -> Grey:
    return np.full((28, 28), brightness, np.uint8)


def cascade(fast: Engine, careful: Engine) -> CascadeEngine:
    return CascadeEngine(fast, careful, Thresholds(confidence=0.5, typicality=0.5))


def test_an_answer_does_not_depend_on_its_company(engine: Engine, digits: Digits) -> None:
    """Alone, among others, in a large batch of any size and by the engine itself: the same numbers to the last bit."""
    images = np.stack([image for _, image in digits])

    async def check() -> None:
        async with Inference(engine, in_loop=True) as inference:
            alone = [(await inference.one(image)).result for image in images]
            among = await asyncio.gather(*(inference.one(image) for image in images))
            assert [completed.result.probabilities for completed in among] == [one.probabilities for one in alone]
            assert [completed.result.typicality for completed in among] == [one.typicality for one in alone]
            many = await inference.many(np.concatenate([images] * 5))
        whole = engine(images)
        for start in range(0, len(many.typicality), len(images)):
            part = slice(start, start + len(images))
            np.testing.assert_array_equal(many.probabilities[part], whole.probabilities)
            np.testing.assert_array_equal(many.typicality[part], whole.typicality)

    run(check)


@pytest.mark.parametrize("network", ["fast", "careful"])
def test_a_network_answers_a_batch_as_it_answers_each(released: ModelFolder, network: str, digits: Digits) -> None:
    """In whatever batch a digit comes, a network that ships gives it the same scores."""
    engine = open_engine(released, "onnxruntime", "cpu", 1, network)
    images = np.stack([image for _, image in digits])
    whole = engine(images)
    for size in (1, 3, 7, 16):
        for start in range(0, len(images), size):
            part = engine(images[start : start + size])
            np.testing.assert_array_equal(part.probabilities, whole.probabilities[start : start + size])


@pytest.mark.parametrize("in_loop", [False, True])
def test_only_what_the_fast_network_is_unsure_of_goes_on(in_loop: bool) -> None:
    """The careful network reads the doubtful pictures, in a thread or the loop, and its answers go to their places."""
    fast, careful = Fake(), Fake()

    async def check() -> None:
        async with Inference(cascade(fast, careful), in_loop=True, careful_in_loop=in_loop) as inference:
            done = await asyncio.gather(*(inference.one(picture(level)) for level in (255, 25, 255, 51)))
            assert [round(completed.result.probabilities[0], 1) for completed in done] == [1.0, 0.1, 1.0, 0.2]
            many = await inference.many(np.stack([picture(level) for level in (25, 255, 51)]))
            np.testing.assert_allclose(many.probabilities[:, 0], [25 / 255, 1, 51 / 255], rtol=1e-6)
            await inference.many(np.stack([picture(25)] * 3), second_opinion=False)
        assert fast.threads == {threading.get_ident()}
        assert (careful.threads == fast.threads) is in_loop
        assert (sum(fast.batches), sum(careful.batches)) == (4 + 3 + 3, 2 + 2)

    run(check)


@pytest.mark.parametrize(("in_loop", "careful_slice"), [(False, CAREFUL_SLICE), (True, CAREFUL_SLICE_IN_LOOP)])
def test_large_batches_are_cut_and_others_come_between(in_loop: bool, careful_slice: int) -> None:
    """A single picture that comes while a large batch runs waits for a slice of it, and not for the whole."""
    fast, careful = Fake(seconds=0.002), Fake(seconds=0.02)

    async def check() -> None:
        async with Inference(cascade(fast, careful), in_loop=True, careful_in_loop=in_loop) as inference:
            large = asyncio.create_task(inference.many(np.stack([picture(25)] * 300)))
            await asyncio.sleep(0)
            for _ in range(5):
                assert (await inference.one(picture(255))).result == Score([1.0] + [0.0] * 9, 1.0)
                assert not large.done()
            await large
        assert max(fast.batches) == SLICE
        assert max(careful.batches) == careful_slice

    run(check)


def test_a_slice_lets_single_pictures_go_first() -> None:
    """A picture that waits already is read before a slice that comes in the same turn of the loop."""
    fast = Fake()

    async def check() -> None:
        async with Inference(fast, in_loop=True) as inference:
            await asyncio.gather(inference.one(picture(255)), inference.many(np.stack([picture(25)] * SLICE)))
        assert fast.batches == [1, SLICE]

    run(check)


def test_a_slice_does_not_wait_for_ever() -> None:
    """While a single picture waits long for company, large batches go on."""
    fast = Fake()

    async def check() -> None:
        async with Inference(fast, in_loop=True, batch_wait=0.5) as inference:
            single = asyncio.create_task(inference.one(picture(255)))
            await asyncio.sleep(0)
            await inference.many(np.stack([picture(25)] * 3 * SLICE))
            assert not single.done()
            await single
        assert fast.batches == [SLICE] * 3 + [1]

    run(check)


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_flood_of_doubtful_pictures_lets_others_through(in_loop: bool) -> None:
    """Two hundred pictures wait for the careful network, and one that is clear does not wait for all of them."""
    fast, careful = Fake(), Fake(seconds=0.01)

    async def check() -> None:
        async with Inference(cascade(fast, careful), in_loop=True, careful_in_loop=in_loop) as inference:
            flood = [asyncio.create_task(inference.one(picture(25))) for _ in range(200)]
            await flood[0]
            for _ in range(2):
                assert (await inference.one(picture(255))).result == Score([1.0] + [0.0] * 9, 1.0)
                assert not all(doubtful.done() for doubtful in flood)
            await asyncio.gather(*flood)

    run(check)


def test_a_heavy_engine_does_not_hold_the_loop() -> None:
    """Where the engine is not for the loop, it runs in a thread, single pictures and large batches alike."""
    heavy = Fake(seconds=0.05)

    async def check() -> None:
        async with Inference(heavy, in_loop=False) as inference:
            work = asyncio.gather(inference.one(picture(255)), inference.many(np.stack([picture(255)] * 40)))
            turns = 0
            while not work.done():
                await asyncio.sleep(0.001)
                turns += 1
            assert turns > 20
        assert threading.get_ident() not in heavy.threads

    run(check)


def test_large_batches_that_wait_are_bounded() -> None:
    """One more than may wait is refused at once; one alone is taken, however large."""

    async def check() -> None:
        async with Inference(Fake(seconds=0.01), in_loop=True, max_bulk=100) as inference:
            first = asyncio.create_task(inference.many(np.stack([picture(255)] * 150)))
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError):
                await inference.many(np.stack([picture(255)] * 10))
            assert len((await first).typicality) == 150
            assert len((await inference.many(np.stack([picture(255)] * 10))).typicality) == 10

    run(check)
