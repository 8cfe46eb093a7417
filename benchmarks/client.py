"""A folder of pictures read by a running service: how long the command line takes, and its memory at the most.

    python -m benchmarks.client [--pictures 300 10000]

The pictures are MNIST's test digits as PNG files, from the first again where more are asked for; DIGITS_DATA_DIR names
the folder of MNIST. The service runs with the defaults on one core, the command line on another.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from benchmarks.pinned import LOAD_CORE, serving, start
from training import data

# The command line, and then the status of its own process: that of an ended child has its parent's memory in it.
RUN = """
import pathlib, sys
from app.__main__ import main
status = main(sys.argv[1:])
print(pathlib.Path("/proc/self/status").read_text())
sys.exit(status)
"""


def measure(arguments: list[str], folder: Path, output: Path) -> tuple[float, float]:
    """Read a folder: seconds from the start of the process to its end, and MB resident at the most."""
    began = time.perf_counter()
    command = [sys.executable, "-c", RUN, "predict", *arguments, "--output", str(output), str(folder)]
    process = start(command, LOAD_CORE, subprocess.PIPE)
    told, _ = process.communicate()
    seconds = time.perf_counter() - began
    found = re.search(rb"VmHWM:\s+(\d+) kB", told)
    if process.returncode or not found:
        raise SystemExit(f"predict ended with {process.returncode}")
    return seconds, int(found[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client", description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, nargs="+", default=[300, 10_000])
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("DIGITS_DATA_DIR", "data")))
    arguments = parser.parse_args()
    images = data.load(arguments.data_dir, "test").images
    print(f"{'pictures':>10}  {'how':34}{'seconds':>10}{'a second':>10}{'MB':>8}")
    with tempfile.TemporaryDirectory() as place, serving() as (url, _):
        for count in arguments.pictures:
            folder = Path(place, str(count))
            folder.mkdir()
            for number in range(count):
                Image.fromarray(images[number % len(images)].numpy()).save(folder / f"{number:06}.png")
            for how in (["--url", url], []):
                output = Path(place, f"{count}{''.join(how[:1])}.csv")
                seconds, megabytes = measure(how, folder, output)
                label = " ".join(["predict", *how])
                print(f"{count:10,}  {label:34}{seconds:10.2f}{count / seconds:10,.0f}{megabytes:8.0f}", flush=True)


if __name__ == "__main__":
    main()
