"""Pictures -> scores, shared by all requests: single pictures in batches, large batches in slices, careful work apart.

The fast network reads every picture. Where it is light it runs in the event loop, for handing a batch to a thread
costs more than the batch; what it is unsure of waits for the careful network, which runs in a thread, or in the loop,
with half of the time at most, where there is no second core: on one core two threads only stand in each other's way.
So a flood of doubtful pictures delays no other. Large batches are cut into slices; others have their turn between them,
and single pictures that wait go first. Knows nothing of HTTP.
"""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self

import numpy as np

from app.batcher import Batcher, Completed
from app.classifier import Score, score
from app.cores import give_way
from app.engine import CascadeEngine, Engine, Images, Scores, below, fast_part
from app.errors import DeadlineError, OverloadedError
from app.normalize import Grey

SLICE = 64  # pictures of a large batch that are read before others have their turn: 1.5 ms, in the loop
CAREFUL_SLICE = 8  # likewise, for the careful network
CAREFUL_IN_LOOP = 2  # of large batches, where that runs in the loop
HELD = 3  # turns of the loop for which a slice lets single pictures go first


class Inference:
    """An async context manager around an engine.

    Args:
        engine: what reads.
        in_loop: whether the engine (its fast part, if it is a cascade) is light enough for the event loop.
        careful_in_loop: whether the careful part of a cascade should be there, too.
        batch_max: single pictures in one batch at most.
        batch_wait: seconds that a batch of them waits for company.
        max_waiting: single pictures that may wait.
        max_bulk: pictures of large batches that may wait.
        on_batch: told of each batch of single pictures, and of each slice that runs in the loop: size, and seconds.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        in_loop: bool,
        careful_in_loop: bool = False,
        batch_max: int = 64,
        batch_wait: float = 0.0,
        max_waiting: int = 1024,
        max_bulk: int = 8192,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        cascade = engine if isinstance(engine, CascadeEngine) else None
        self._engine, self._gate = fast_part(engine), cascade.gate if cascade else None
        self._careful_engine = cascade.careful if cascade else None
        self._thread = None if in_loop else ThreadPoolExecutor(1, thread_name_prefix="fast")
        self._careful_thread = (
            ThreadPoolExecutor(1, thread_name_prefix="careful", initializer=give_way)
            if cascade and not careful_in_loop
            else None
        )
        self._careful_slice = CAREFUL_IN_LOOP if careful_in_loop else CAREFUL_SLICE
        self._single: Batcher[Grey, Score] = Batcher(
            partial(score, self._engine, gate=self._gate),
            self._thread,
            max_batch=batch_max,
            max_wait=batch_wait,
            max_waiting=max_waiting,
            on_batch=on_batch,
        )
        self._careful: Batcher[Grey, Score] | None = None
        if cascade:
            self._careful = Batcher(
                partial(score, cascade.careful),
                self._careful_thread,
                max_batch=CAREFUL_SLICE,
                max_waiting=max_waiting,
                fair=True,
            )
        self._on_batch = on_batch
        self._turn = asyncio.Lock()  # first come, first served: slices of several large batches take turns
        self._bulk, self._max_bulk = 0, max_bulk
        self._stack = AsyncExitStack()

    @property
    def waiting(self) -> int:
        """Pictures that wait for a network, those of large batches until the last of them is read."""
        return self._single.waiting + (self._careful.waiting if self._careful else 0) + self._bulk

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Begin to take pictures."""
        for thread in (self._thread, self._careful_thread):
            if thread:
                self._stack.callback(thread.shutdown, wait=False, cancel_futures=True)
        if self._careful:
            await self._stack.enter_async_context(self._careful)
        await self._stack.enter_async_context(self._single)

    async def close(self) -> None:
        """Take no more, and finish what waits, the fast network's part first."""
        await self._stack.aclose()

    async def one(self, pixels: Grey, until: float = math.inf) -> Completed[Score]:
        """Read one picture ``(28, 28)``, beginning nothing after ``until``, by ``time.perf_counter``.

        Raises:
            DeadlineError: its time was over before its turn came.
            OverloadedError: too many wait already.
            NotReadyError: the service is stopping.
        """
        first = await self._single.submit(pixels, until)
        if self._careful is None or not first.result.unsure:
            return first
        second = await self._careful.submit(pixels, until)
        return Completed(
            second.result, first.queue_seconds + second.queue_seconds, first.run_seconds + second.run_seconds
        )

    async def many(self, images: Images, second_opinion: bool = True, until: float = math.inf) -> Scores:
        """Read a large batch, ``(N, 28, 28)``, in slices; without a second opinion, by the fast network alone.

        Raises:
            DeadlineError: its time was over before the turn of its last slice came.
            OverloadedError: too many wait already.
        """
        if self._bulk and self._bulk + len(images) > self._max_bulk:
            raise OverloadedError("Too many large batches wait already.")
        self._bulk += len(images)
        try:
            scores = await self._sliced(self._engine, images, SLICE, self._thread, until)
            if second_opinion and self._gate and self._careful_engine:
                unsure = np.flatnonzero(below(scores, self._gate))
                second = await self._sliced(
                    self._careful_engine, images[unsure], self._careful_slice, self._careful_thread, until
                )
                scores.probabilities[unsure] = second.probabilities
                scores.typicality[unsure] = second.typicality
            return scores
        finally:
            self._bulk -= len(images)

    async def _sliced(
        self, engine: Engine, images: Images, size: int, executor: Executor | None, until: float
    ) -> Scores:
        loop = asyncio.get_running_loop()
        parts: list[Scores] = []

        def in_time(part: Images) -> Scores:
            if time.perf_counter() > until:
                raise DeadlineError("There was no time left for all of the pictures.")
            return engine(part)

        for start in range(0, len(images), size):
            part = images[start : start + size]
            if executor:
                parts.append(await loop.run_in_executor(executor, in_time, part))
            else:
                async with self._turn:
                    for _ in range(HELD):
                        if not self._single.waiting:
                            break
                        await asyncio.sleep(0)
                    started = time.perf_counter()
                    parts.append(in_time(part))
                    self._on_batch(len(part), time.perf_counter() - started)
                    await asyncio.sleep(0)
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return Scores(np.empty((0, 10), np.float32), np.empty(0, np.float32))
        return Scores(
            np.concatenate([part.probabilities for part in parts]), np.concatenate([part.typicality for part in parts])
        )
