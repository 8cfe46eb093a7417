"""How many cores this process may use: what it is pinned to, and what its container is allowed."""

import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of cgroup v2: "200000 100000" is two cores, "max 100000" is all of them


def cores(quota: Path = QUOTA) -> int:
    """Count whole cores, one at the least."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        allowed, period = quota.read_text().split()
        return max(1, min(usable, int(allowed) // int(period)))
    except (OSError, ValueError):  # no cgroup v2, or no quota
        return usable
