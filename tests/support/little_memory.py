"""Takes memory from a running server, as a full machine would."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def little_memory(pid: int, more_bytes: int) -> Iterator[None]:
    """Let a process use only so many more bytes of addresses. Start it with ``MALLOC_ARENA_MAX=1``."""
    limits = resource.prlimit(pid, resource.RLIMIT_AS)
    used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (used + more_bytes, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, limits)
