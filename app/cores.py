"""The cores that this process may use, and which of its threads goes first."""

import os
import sys
import threading
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of cgroup v2: "200000 100000" is two cores, "max 100000" is all of them


def cores(quota: Path = QUOTA) -> int:
    """Count whole cores, one at the least: what the process is pinned to, and what its container is allowed."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
        return max(1, min(usable, int(allowed) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or no quota
        return usable


def give_way() -> None:
    """Have this thread wait for the processor behind those that did not ask for this: behind the event loop.

    What it works on may take long, and the loop's next turn is a fraction of a millisecond. On Linux, where a priority
    is a thread's own; elsewhere nothing is done.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + 5))
