"""The processor: how many cores this process may use, and which of its threads run first."""

import os
import sys
import threading
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of cgroup v2: "200000 100000" means two cores, "max 100000" means all
NICENESS = 5  # how much a background thread's priority is lowered


def available_cores(quota: Path = QUOTA) -> int:
    """Return how many whole cores this process may use, at least one: by its CPU affinity and its container's quota."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
        return max(1, min(usable, int(allowed) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or no quota
        return usable


def lower_thread_priority() -> None:
    """Lower this thread's priority below the event loop's (Linux only).

    The thread's work may take long, and the loop's next turn takes a fraction of a millisecond. Only on Linux does a
    priority belong to a thread.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS))
