"""Pictures to scores, shared by all requests: single pictures in batches, large batches in slices.

The fast network reads every picture. If it is light, it runs in the event loop, because passing a batch to a thread
would cost more than the batch. What it is unsure of waits for the careful network, which runs in a thread. On a single
core two threads would only get in each other's way, so there it runs in the loop and takes at most half of the time.
This way a flood of doubtful pictures delays no others. Large batches are cut into slices. Other work runs between them,
and waiting single pictures go first.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from operator import attrgetter
from types import TracebackType
from typing import Self

import numpy as np

from app.errors import DeadlineError, OverloadedError
from app.imaging.digit_image import Grey, Images
from app.inference.batching import Batcher, Completed
from app.inference.cascade import CascadeEngine, fast_part, is_below
from app.inference.cpu import lower_thread_priority
from app.inference.engines import Engine
from app.inference.scores import Score, Scores, concatenate, score_pictures
from app.inference.threads import run_in_executor

SLICE = 64  # pictures of a large batch that are read before other work runs: 1.5 ms in the loop
CAREFUL_SLICE = 8  # the same for the careful network
CAREFUL_SLICE_IN_LOOP = 2  # the same if it runs in the loop
MAX_YIELDS = 3  # turns of the loop for which a slice lets single pictures go first


class Scheduler:
    """An async context manager that schedules the calls of an engine.

    Args:
        engine: The engine that reads.
        in_loop: Whether the engine (the fast part of a cascade) is light enough for the event loop.
        careful_in_loop: Whether the careful part of a cascade runs there, too.
        max_batch: How many single pictures one batch may have.
        batch_wait_s: How many seconds a batch of them waits for more.
        max_waiting: How many single pictures may wait.
        max_bulk: How many pictures of large batches may wait.
        on_batch: Called after each batch of single pictures, and after each slice in the loop, with its size and its
            duration in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        in_loop: bool,
        careful_in_loop: bool = False,
        max_batch: int = 64,
        batch_wait_s: float = 0.0,
        max_waiting: int = 1024,
        max_bulk: int = 8192,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        cascade = engine if isinstance(engine, CascadeEngine) else None
        self._engine, self._gate = fast_part(engine), cascade.gate if cascade else None
        self._careful_engine = cascade.careful if cascade else None
        self._thread = None if in_loop else ThreadPoolExecutor(1, thread_name_prefix="fast")
        self._careful_thread = (
            ThreadPoolExecutor(1, thread_name_prefix="careful", initializer=lower_thread_priority)
            if cascade and not careful_in_loop
            else None
        )
        self._careful_slice = CAREFUL_SLICE_IN_LOOP if careful_in_loop else CAREFUL_SLICE
        self._careful: Batcher[Grey, Score] | None = None
        if cascade:
            self._careful = Batcher(
                self._score_carefully,
                self._careful_thread,
                max_batch=CAREFUL_SLICE,
                max_waiting=max_waiting,
                fair=True,
            )
        self._single: Batcher[Grey, Score] = Batcher(
            self._score_fast,
            self._thread,
            max_batch=max_batch,
            max_wait_s=batch_wait_s,
            max_waiting=max_waiting,
            on_batch=on_batch,
            second=self._careful,
            needs_second=attrgetter("unsure"),
        )
        self._on_batch = on_batch
        self._slice_lock = asyncio.Lock()  # first come, first served: slices of several large batches alternate
        self._bulk, self._max_bulk = 0, max_bulk
        self._stack = AsyncExitStack()

    def _score_fast(self, pictures: Sequence[Grey]) -> list[Score]:
        scores = score_pictures(self._engine, pictures)
        return scores.to_list(is_below(scores, self._gate) if self._gate else None)

    def _score_carefully(self, pictures: Sequence[Grey]) -> list[Score]:
        assert self._careful_engine
        return score_pictures(self._careful_engine, pictures).to_list()

    @property
    def queue_size(self) -> int:
        """How many pictures wait for a network. All pictures of a large batch count until the last of them is read."""
        return self._single.queue_size + (self._careful.queue_size if self._careful else 0) + self._bulk

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Start to accept pictures."""
        for thread in (self._thread, self._careful_thread):
            if thread:
                self._stack.callback(thread.shutdown, wait=False, cancel_futures=True)
        if self._careful:
            await self._stack.enter_async_context(self._careful)
        await self._stack.enter_async_context(self._single)

    async def close(self) -> None:
        """Accept no more pictures, and finish those that wait, the fast network's first."""
        await self._stack.aclose()

    def read_one(self, pixels: Grey, deadline: float = math.inf) -> asyncio.Future[Completed[Score]]:
        """Read one picture ``(28, 28)``. Start no work after ``deadline``, by ``time.perf_counter``.

        The future may also get DeadlineError, because the deadline passed before the picture's turn, OverloadedError,
        because too many pictures wait for the careful network, or EngineFailedError.

        Raises:
            OverloadedError: Too many pictures are waiting.
            NotReadyError: The service is stopping.
        """
        return self._single.submit(pixels, deadline)

    async def read_many(self, images: Images, second_opinion: bool = True, deadline: float = math.inf) -> Scores:
        """Read a large batch ``(N, 28, 28)`` in slices. Without a second opinion, only the fast network reads it.

        Raises:
            DeadlineError: The deadline passed before the turn of its last slice.
            NotReadyError: The service is stopping.
            OverloadedError: Too many pictures are waiting.
        """
        if self._bulk and self._bulk + len(images) > self._max_bulk:
            raise OverloadedError("Too many large batches are waiting.")
        self._bulk += len(images)
        try:
            scores = await self._read_slices(self._engine, images, SLICE, self._thread, deadline)
            if second_opinion and self._gate and self._careful_engine:
                unsure = np.flatnonzero(is_below(scores, self._gate))
                second = await self._read_slices(
                    self._careful_engine, images[unsure], self._careful_slice, self._careful_thread, deadline
                )
                scores.replace_rows(unsure, second)
            return scores
        finally:
            self._bulk -= len(images)

    async def _read_slices(
        self, engine: Engine, images: Images, size: int, executor: Executor | None, deadline: float
    ) -> Scores:
        parts: list[Scores] = []

        def read_before_deadline(part: Images) -> Scores:
            if time.perf_counter() > deadline:
                raise DeadlineError("The deadline passed before all pictures were read.")
            return engine(part)

        for start in range(0, len(images), size):
            part = images[start : start + size]
            if executor:
                parts.append(await run_in_executor(executor, read_before_deadline, part))
            else:
                async with self._slice_lock:
                    for _ in range(MAX_YIELDS):
                        if not self._single.queue_size:
                            break
                        await asyncio.sleep(0)
                    started = time.perf_counter()
                    parts.append(read_before_deadline(part))
                    self._on_batch(len(part), time.perf_counter() - started)
                    await asyncio.sleep(0)
        return concatenate(parts)
