"""A progress bar: one line on a terminal that is overwritten."""

import os
import sys
from time import monotonic

REFRESH_INTERVAL_S = 0.1
BAR_WIDTH = 30


class Progress:
    """Shows progress on standard error.

    Args:
        total: How many files there are.
        done: How many of them earlier runs have read.
        visible: Whether to show anything.
    """

    def __init__(self, total: int, done: int, visible: bool) -> None:
        self._total, self._visible = max(total, 1), visible
        self._started, self._done_before = monotonic(), done
        self._next_refresh = self._started

    def update(self, done: int, failed: int) -> None:
        """Show how many files are done, and how many of them could not be read."""
        if not self._visible or (now := monotonic()) < self._next_refresh:
            return
        self._next_refresh = now + REFRESH_INTERVAL_S
        rate = (done - self._done_before) / max(now - self._started, 1e-6)
        bar = "#" * round(BAR_WIDTH * min(done / self._total, 1))
        failures = f"  {failed:,} could not be read" if failed else ""
        self.show(f"[{bar:<{BAR_WIDTH}}] {done:,} of {self._total:,}  {rate:,.0f}/s{failures}")

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._visible:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            sys.stderr.write(f"\r{text[: columns - 1]}\x1b[K")  # a text that wraps could not be overwritten
            sys.stderr.flush()

    def clear(self) -> None:
        """Remove the line."""
        self.show("")
