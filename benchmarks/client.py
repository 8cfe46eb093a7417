"""Measure how fast the command line reads a folder of pictures through a running service, and its peak memory.

    python -m benchmarks.client [--pictures 300 10000]

The pictures are MNIST's test digits as PNG files, repeated if more are wanted; DIGITS_DATA_DIR names the folder of
MNIST. The service runs with its defaults on one core, the command line on another.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from benchmarks.data import DATA_DIR, required_data
from benchmarks.pinned_service import LOAD_CORE, run_service, start_process
from training.data import mnist

# Runs the command line and prints /proc/self/status from inside the process: what the kernel reports about an ended
# child includes memory of its parent.
RUN = """
import pathlib, sys
from app.__main__ import main
status = main(sys.argv[1:])
print(pathlib.Path("/proc/self/status").read_text())
sys.exit(status)
"""


def measure(arguments: list[str], folder: Path, output: Path) -> tuple[float, float]:
    """Read a folder. Return the seconds from the start of the process to its end, and its peak memory in MB."""
    started = time.perf_counter()
    command = [sys.executable, "-c", RUN, "predict", *arguments, "--output", str(output), str(folder)]
    process = start_process(command, LOAD_CORE, subprocess.PIPE)
    printed, _ = process.communicate()
    seconds = time.perf_counter() - started
    peak = re.search(rb"VmHWM:\s+(\d+) kB", printed)
    if process.returncode or not peak:
        raise SystemExit(f"predict ended with {process.returncode}")
    return seconds, int(peak[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--pictures", type=int, nargs="+", default=[300, 10_000], help="sizes of the folders [300 10000]"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=DATA_DIR,
        help="folder of MNIST [DIGITS_DATA_DIR]",
    )
    arguments = parser.parse_args()
    with required_data(arguments.data_dir):
        images = mnist.load(arguments.data_dir, "test").images
    print(f"{'pictures':>10}  {'command':34}{'seconds':>10}{'per second':>12}{'peak MB':>9}")
    with tempfile.TemporaryDirectory() as temporary, run_service() as (url, _):
        for count in arguments.pictures:
            folder = Path(temporary, str(count))
            folder.mkdir()
            for number in range(count):
                Image.fromarray(images[number % len(images)].numpy()).save(folder / f"{number:06}.png")
            for flags in (["--url", url], []):
                output = Path(temporary, f"{count}{''.join(flags[:1])}.csv")
                seconds, megabytes = measure(flags, folder, output)
                command = " ".join(["predict", *flags])
                print(f"{count:10,}  {command:34}{seconds:10.2f}{count / seconds:12,.0f}{megabytes:9.0f}", flush=True)


if __name__ == "__main__":
    main()
