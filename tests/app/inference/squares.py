"""Work for the tests of the batcher."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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
