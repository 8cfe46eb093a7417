"""A watch over the engine: from its first failure until it reads its golden digits again, the service is not ready.

If it does not within a while, the process ends, for its supervisor to start another: a device that has failed often
works again only for a new process.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable

from app.errors import DigitserveError

logger = logging.getLogger(__name__)

PROBED = 1.0  # seconds from one try to the next
FAILED = 70  # exit status, EX_SOFTWARE of sysexits.h


class Watch:
    """Whether the engine works.

    Args:
        probe: has the engine read its golden digits; raises a DigitserveError if it cannot. Called in a thread.
        patience: seconds for which it may go on failing.
        end: called when they are over.
        tell: told 0 when it fails, and 1 when it works again.
    """

    def __init__(
        self,
        probe: Callable[[], None],
        patience: float,
        end: Callable[[int], object] = os._exit,
        tell: Callable[[float], None] = lambda works: None,
    ) -> None:
        self._probe, self._patience, self._end, self._tell = probe, patience, end, tell
        self._loop = asyncio.get_running_loop()
        self._trying: asyncio.Task[None] | None = None

    @property
    def failing(self) -> bool:
        return self._trying is not None

    def failed(self, error: Exception) -> None:
        """Note a failure, from any thread."""
        self._loop.call_soon_threadsafe(self._begin, type(error).__name__)

    def _begin(self, kind: str) -> None:
        if self._trying is None:
            logger.error("the engine failed (%s); not ready until it works again", kind)
            self._tell(0)
            self._trying = self._loop.create_task(self._try())

    async def _try(self) -> None:
        since = time.monotonic()
        while True:
            await asyncio.sleep(PROBED)
            try:
                await asyncio.wait_for(asyncio.to_thread(self._probe), self._patience)
            except (DigitserveError, TimeoutError):
                if time.monotonic() - since >= self._patience:
                    logger.critical("the engine has failed for %g s; this process ends", self._patience)
                    self._end(FAILED)
                    return
            else:
                logger.warning("the engine works again")
                self._trying = None
                self._tell(1)
                return

    async def close(self) -> None:
        """Try no more."""
        if self._trying:
            self._trying.cancel()
            await asyncio.gather(self._trying, return_exceptions=True)
