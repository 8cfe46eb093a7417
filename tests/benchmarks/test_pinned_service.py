"""The benchmarks put the service and the load on different cores."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os

from benchmarks.pinned_service import LOAD_CORE, SERVER_CORE, pin, start_process

pin(LOAD_CORE)
process = start_process(["sleep", "60"], SERVER_CORE)
print(os.sched_getaffinity(0), os.sched_getaffinity(process.pid))
process.kill()
"""


@pytest.mark.skipif(not {0, 1} <= os.sched_getaffinity(0), reason="this machine does not have cores 0 and 1")
def test_a_pinned_load_does_not_share_its_core_with_the_service() -> None:
    """Also if the benchmark has put itself on its core before it starts the service."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "{1} {0}\n"
