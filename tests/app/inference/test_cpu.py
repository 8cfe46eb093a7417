"""The number of usable cores, and thread priorities."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.inference.cpu import available_cores, lower_thread_priority


@pytest.mark.parametrize(
    ("quota", "count"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("", None)]
)
def test_the_quota_of_the_container_limits_the_count(quota: str, count: int | None, tmp_path: Path) -> None:
    """One core or half a core counts as one. Without a quota, or with an empty file, the CPU affinity counts."""
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert available_cores(file) == (count or len(os.sched_getaffinity(0)))


def test_without_a_cgroup_the_affinity_counts(tmp_path: Path) -> None:
    """A missing file is not an error."""
    assert available_cores(tmp_path / "none") == len(os.sched_getaffinity(0))


def test_only_one_thread_lowers_its_priority() -> None:
    """The priority of the thread falls, and that of the thread that started it stays."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with ThreadPoolExecutor(1, initializer=lower_thread_priority) as pool:
        lowered = pool.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result()
    assert lowered == min(19, before + 5)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
