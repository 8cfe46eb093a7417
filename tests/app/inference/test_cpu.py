"""Cores: a container's share counts, not the machine's size."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.inference.cpu import cores, give_way


@pytest.mark.parametrize(
    ("quota", "count"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("", None)]
)
def test_the_quota_of_the_container_bounds_the_count(quota: str, count: int | None, tmp_path: Path) -> None:
    """A whole or half core is one; without a quota, or with a file that says nothing, it is what we are pinned to."""
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert cores(file) == (count or len(os.sched_getaffinity(0)))


def test_without_a_cgroup_it_is_what_we_are_pinned_to(tmp_path: Path) -> None:
    """A machine without the file is no error."""
    assert cores(tmp_path / "none") == len(os.sched_getaffinity(0))


def test_a_thread_that_gives_way_is_alone_in_it() -> None:
    """Its priority falls, and that of the thread that started it stays."""
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    with ThreadPoolExecutor(1, initializer=give_way) as pool:
        theirs = pool.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result()
    assert theirs == min(19, mine + 5)
    assert os.getpriority(os.PRIO_PROCESS, 0) == mine
