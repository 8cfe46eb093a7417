"""A new model without a gap: the model setting is looked at again, and what is there takes over or stays out.

The new model is verified, loaded and tested beside the old one, which serves meanwhile; the switch is one assignment,
and the old one is let go of when the last request that has it is answered.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

from app.errors import StartupError
from app.schemas import Reload
from app.service import Service
from app.serving import ServingModel

logger = logging.getLogger(__name__)


class Reloader:
    """Looks at the model setting when asked to, once at a time."""

    def __init__(self, service: Service, load: Callable[[], ServingModel]) -> None:
        self._service, self._load = service, load
        self._asked = False
        self._running: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()  # models that wait for their last request

    def ask(self) -> None:
        """Look, as soon as the look under way is over."""
        self._asked = True
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._asked:
            self._asked = False
            await self._look()
        self._running = None

    async def _look(self) -> None:
        service = self._service
        try:
            model = await asyncio.to_thread(self._load)
        except StartupError as error:
            logger.error("the new model stays out, and %s serves on: %s", service.model.id, error)
            self._note("failed", "It was refused. The log says why.")
            return
        old = service.model
        if model.info.model.sha256 == old.info.model.sha256:
            logger.info("the model is still %s", old.id)
            self._note("unchanged", f"It is still {old.id}.")
            return
        await model.inference.open()
        service.model = model
        model.count(service.metrics)
        logger.info("%s has taken over from %s", model.id, old.id)
        self._note("taken", f"{model.id} has taken over from {old.id}.")
        leaving = asyncio.create_task(self._let_go(old))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _let_go(self, model: ServingModel) -> None:
        await model.unused()
        await model.inference.close()

    def _note(self, outcome: Literal["taken", "unchanged", "failed"], detail: str) -> None:
        self._service.metrics.reloaded(outcome)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._service.last_reload = Reload(outcome=outcome, at=now, detail=detail)

    async def close(self) -> None:
        """Look no more."""
        self._asked = False
        tasks = [task for task in (self._running, *self._leaving) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class HangUp:
    """SIGHUP, which asks a service to look at its model again, and which a terminal sends when it goes away."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # as nohup has it
        self._terminal = not ignored and has_terminal()

    def __call__(self) -> None:
        if self._terminal and not has_terminal():
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self._ask()

    def install(self) -> None:
        """Have SIGHUP come here, where signals can be had: in the main thread of a Unix process."""
        with suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self)


def has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
