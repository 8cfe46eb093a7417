"""Tracks whether the engine works. After a failure, the service is not ready until the golden digits are read again.

If that does not happen in time, the process ends, so that its supervisor starts another. A device that has failed often
works again only in a new process.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

PROBE_INTERVAL_S = 1.0
EXIT_STATUS = 70  # EX_SOFTWARE in sysexits.h


class EngineHealth:
    """Whether the engine works.

    Args:
        probe: Lets the engine read its golden digits. Raises an exception if it cannot. Called in a thread.
        max_failing_s: How many seconds the engine may keep failing.
        end_process: Called with the exit status after that time.
        on_change: Called with 0 when the engine fails and with 1 when it works again.
        probe_interval_s: How many seconds pass between two probes.
    """

    def __init__(
        self,
        probe: Callable[[], None],
        max_failing_s: float,
        end_process: Callable[[int], object] = os._exit,
        on_change: Callable[[float], None] = lambda works: None,
        probe_interval_s: float = PROBE_INTERVAL_S,
    ) -> None:
        self._probe, self._max_failing_s, self._probe_interval_s = probe, max_failing_s, probe_interval_s
        self._end_process, self._on_change = end_process, on_change
        self._loop = asyncio.get_running_loop()
        self._probing: asyncio.Task[None] | None = None

    @property
    def failing(self) -> bool:
        return self._probing is not None

    def report_failure(self, error: Exception) -> None:
        """Note a failure. May be called from any thread."""
        self._loop.call_soon_threadsafe(self._start_probing, type(error).__name__)

    def _start_probing(self, kind: str) -> None:
        if self._probing is None:
            logger.error("the engine failed (%s); not ready until it works again", kind)
            self._on_change(0)
            self._probing = self._loop.create_task(self._probe_until_works())

    async def _probe_until_works(self) -> None:
        since = time.monotonic()
        while True:
            await asyncio.sleep(self._probe_interval_s)
            try:
                # Not wait_for: on Python 3.11 it ignores a cancellation that arrives together with the result.
                async with asyncio.timeout(self._max_failing_s):
                    await asyncio.to_thread(self._probe)
            except Exception as error:
                logger.warning("the engine still fails (%s)", type(error).__name__)
                if time.monotonic() - since >= self._max_failing_s:
                    logger.critical("the engine has failed for %g s; this process ends", self._max_failing_s)
                    self._end_process(EXIT_STATUS)
                    return
            else:
                logger.warning("the engine works again")
                self._probing = None
                self._on_change(1)
                return

    async def close(self) -> None:
        """Stop probing."""
        if self._probing:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
