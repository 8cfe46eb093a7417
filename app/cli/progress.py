"""How far a run is, in a line on a terminal that is written over. Knows nothing of what is done."""

import os
import sys
from time import monotonic

EVERY = 0.1  # seconds
WIDTH = 30


class Progress:
    """Shows what it is told; nothing where nobody looks.

    Args:
        total: how many there are to do.
        done: of them when this run starts.
        shown: whether somebody looks.
    """

    def __init__(self, total: int, done: int, shown: bool) -> None:
        self._total, self._shown = max(total, 1), shown
        self._started, self._before = monotonic(), done
        self._due = self._started

    def at(self, done: int, failed: int) -> None:
        if not self._shown or (now := monotonic()) < self._due:
            return
        self._due = now + EVERY
        rate = (done - self._before) / max(now - self._started, 1e-6)
        bar = "#" * round(WIDTH * min(done / self._total, 1))
        not_read = f"  {failed:,} could not be read" if failed else ""
        self.note(f"[{bar:<{WIDTH}}] {done:,} of {self._total:,}  {rate:,.0f}/s{not_read}")

    def note(self, text: str) -> None:
        if self._shown:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            sys.stderr.write(f"\r{text[: columns - 1]}\x1b[K")  # what goes on in a second line cannot be written over
            sys.stderr.flush()

    def clear(self) -> None:
        self.note("")
