"""Replaces the model of a running service without a gap.

The new model is verified, loaded and tested while the old one serves. The swap is one assignment. The old model is
closed when the last request that uses it is answered.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from app.errors import StartupError
from app.inference.loaded_model import LoadedModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReloadReport:
    """The result of a reload."""

    outcome: Literal["taken", "unchanged", "failed"]
    at: str  # ISO 8601, UTC
    detail: str


class HotReloader:
    """Loads the model again on request, one reload at a time.

    Args:
        model: The model that serves now.
        load: Loads what the model setting names now. Called in a thread.
        on_swap: Called with the new model. From then on, it must be used for new requests.
        on_report: Called with the result of each reload.
    """

    def __init__(
        self,
        model: LoadedModel,
        load: Callable[[], LoadedModel],
        on_swap: Callable[[LoadedModel], None],
        on_report: Callable[[ReloadReport], None],
    ) -> None:
        self._model, self._load, self._on_swap, self._on_report = model, load, on_swap, on_report
        self._requested = False
        self._running: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()  # old models that wait for their last request

    def request(self) -> None:
        """Reload now, or as soon as the current reload is done."""
        self._requested = True
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._requested:
            self._requested = False
            try:
                await self._reload()
            except StartupError as error:
                self._report_failure(f"refused the new model: {error}")
            except Exception as error:  # such as too little memory; the next attempt may succeed
                self._report_failure(f"could not load the new model: {type(error).__name__}: {error}", error)
        self._running = None

    async def _reload(self) -> None:
        old = self._model
        new = await asyncio.to_thread(self._load)
        if new.folder.sha256 == old.folder.sha256:
            logger.info("the model is still %s", old.id)
            self._report("unchanged", f"The model is still {old.id}.")
            return
        await new.scheduler.open()
        self._model = new
        self._on_swap(new)
        logger.info("%s replaces %s", new.id, old.id)
        self._report("taken", f"{new.id} replaces {old.id}.")
        retiring = asyncio.create_task(self._retire(old))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    async def _retire(self, model: LoadedModel) -> None:
        try:
            await model.wait_until_unused()
            await model.scheduler.close()
        except Exception:
            logger.exception("could not close %s", model.id)

    def _report_failure(self, reason: str, error: Exception | None = None) -> None:
        logger.error("%s still serves: %s", self._model.id, reason, exc_info=error)
        self._report("failed", "The new model was refused. The log says why.")

    def _report(self, outcome: Literal["taken", "unchanged", "failed"], detail: str) -> None:
        self._on_report(ReloadReport(outcome, datetime.now(UTC).isoformat(timespec="seconds"), detail))

    async def close(self) -> None:
        """Cancel a reload that is running, and stop waiting for old models."""
        self._requested = False
        tasks = [task for task in (self._running, *self._retiring) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
