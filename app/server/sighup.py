"""SIGHUP: reloads the model, or stops the service if its terminal has closed."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress


class SighupHandler:
    """Handles SIGHUP, which an operator sends to reload the model, and a terminal sends when it closes.

    Without the second, a service would go on in the background after its window is closed, and keep the port.

    Args:
        reload: Called to reload the model.
    """

    def __init__(self, reload: Callable[[], None]) -> None:
        self._reload = reload
        handled = hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN  # nohup ignores it
        self._had_terminal = handled and has_terminal()

    def __call__(self) -> None:
        if self._had_terminal and not has_terminal():
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self._reload()

    def install(self) -> None:
        """Handle SIGHUP from now on. Does nothing outside the main thread of a Unix process."""
        with suppress(AttributeError, NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # a supervisor blocks it until here


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
