"""Look for inputs that do to the service what none should: real ones, changed at random, through all that reads them.

    python -m benchmarks.fuzz [--seconds 60] [--seed 1] [--findings fuzz-findings] [--replay 1:4711]

Each goes the way of a request to /predict and to /read, up to the network, in a process of its own. It must end with a
picture within the limits, or with a ``RequestError``, in time and in little memory; and where there is a quick way and
a general one (plain PNGs, plain forms) both must say the same. Anything else is a finding: it is written to a folder
with the seed and number that make it again.
"""

import argparse
import json
import logging
import math
import multiprocessing
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np

from app import quick_png
from app.errors import CrowdedPictureError, MalformedRequestError, RequestError
from app.image import decode, open_image
from app.normalize import normalize
from app.reader import candidates, open_page
from app.upload import BOUNDARY, files_alone, parse_form, take_image
from benchmarks.mutations import CORPUS, Input, make

SPAWN = multiprocessing.get_context("spawn")
MAX_PIXELS = 1_000_000
START = 60.0  # seconds in which a process must be ready to work
SLOW = 1.0  # seconds of the processor for one input
HANG = 60.0  # seconds by the clock for one input, on a machine that may be busy with other things
MEMORY = 200  # MB for one input, beside what was there
ADDRESSES = 8 << 30  # bytes of address space, so that a bomb ends the process and not the machine


Check = Callable[[Input], str]  # tries an input, and tells how it ended; what it raises is a finding


class Finding(Exception):
    """What should not have happened, in words."""


@dataclass
class Result:
    """What came of many inputs."""

    outcomes: Counter[str] = field(default_factory=Counter)  # how they ended
    findings: dict[int, str] = field(default_factory=dict)  # number -> what was found
    seconds: float = 0.0

    @property
    def inputs(self) -> int:
        return sum(self.outcomes.values())


def check(given: Input) -> str:
    """Do with an input what a request does; how it ended.

    Raises:
        Exception: whatever is not as it should be.
    """
    both_ways_take_the_same_files(given)
    try:
        data = take_image(*given)
    except RequestError as error:
        return type(error).__name__
    quick = quick_png.read(data, MAX_PIXELS)
    try:
        picture = decode(data, MAX_PIXELS)
    except RequestError as error:
        if quick:
            raise Finding("the quick way reads a PNG that the general one does not") from error
        return type(error).__name__
    if quick and not np.array_equal(quick.pixels, picture.pixels):
        raise Finding("the quick way reads other pixels than the general one")
    if picture.pixels.dtype != np.uint8 or picture.pixels.ndim != 2 or not 0 < picture.pixels.size <= MAX_PIXELS:
        raise Finding(f"pixels of {picture.pixels.dtype}, {picture.pixels.shape}")
    for mode in ("auto", "always", "never"):
        result = normalize(picture.pixels, mode)
        if result.pixels.shape != (28, 28) or result.pixels.dtype != np.uint8:
            raise Finding(f"normalised to {result.pixels.dtype}, {result.pixels.shape}")
        if result.box:
            box = picture.in_picture(result.box)
            if box.left < 0 or box.top < 0 or box.right > picture.width or box.bottom > picture.height:
                raise Finding(f"{box} is not within {picture.width} x {picture.height}")
    with suppress(CrowdedPictureError):
        page = open_page(open_image(data, MAX_PIXELS))
        if any(pixels.shape != (28, 28) for pixels in candidates(page)):
            raise Finding("a candidate for a digit is not 28x28")
    return f"read, {picture.format}"


def both_ways_take_the_same_files(given: Input) -> None:
    plain = BOUNDARY.fullmatch(given.content_type)
    if not plain or (quick := files_alone(plain[1], given.body, 1)) is None:
        return
    try:
        general = parse_form(plain[1], given.body, 1)
    except MalformedRequestError as error:
        raise Finding("the quick way takes files out of a form that the parser refuses") from error
    if quick != general:
        raise Finding("the quick way takes other files out of a form than the parser does")


def work(check: Check, seed: int, first: int, to: Connection) -> None:
    """Try one input after the other, for as long as this process lives, and tell of each how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    for given in CORPUS:
        check(given)  # what is imported and allocated once is no input's fault
    number, peak = first, resident()
    to.send("ready")
    while True:
        found, given, began = None, make(seed, number), time.process_time()
        try:
            outcome = check(given)
        except Exception:
            outcome, found = "finding", traceback.format_exc()
        if (took := time.process_time() - began) > SLOW:
            outcome, found = "finding", f"it took {took:.1f} s"
        if (now := resident()) > peak:
            if now - peak > MEMORY:
                outcome, found = "finding", f"it took {now - peak:.0f} MB"
            peak = now
        to.send((outcome, found))
        number += 1


def resident() -> float:
    """MB that this process had at its peak; what getrusage has is that of its parent, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextmanager
def worker(check: Check, seed: int, first: int) -> Iterator[tuple[SpawnProcess, Connection]]:
    """A process that tries inputs from a number on, and what it tells of them."""
    ours, theirs = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=work, args=(check, seed, first, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        ours.close()


def run(
    seed: int, seconds: float = math.inf, inputs: float = math.inf, check: Check = check, hang: float = HANG
) -> Result:
    """Try inputs until the time is over, or so many. One that hangs or ends its process is a finding; others follow."""
    began = time.monotonic()
    result, number, until = Result(), 0, began + seconds
    while time.monotonic() < until and number < inputs:
        with worker(check, seed, number) as (process, told):
            alive = told.poll(START) and told.recv() is not None
            while alive and time.monotonic() < until and number < inputs:
                found: str | None
                try:
                    alive = told.poll(hang)
                    outcome, found = told.recv() if alive else ("finding", f"it did not end within {hang} s")
                except EOFError:
                    process.join()
                    alive, outcome, found = False, "finding", f"its process ended with {process.exitcode}"
                result.outcomes[outcome] += 1
                if found:
                    result.findings[number] = found
                number += 1
    result.seconds = time.monotonic() - began
    return result


def write(folder: Path, seed: int, number: int, found: str) -> Path:
    """Write a finding down: the body, and beside it what happened and how to make it happen again."""
    folder.mkdir(parents=True, exist_ok=True)
    given = make(seed, number)
    body = folder / f"{seed}-{number}.body"
    body.write_bytes(given.body)
    about = {
        "content_type": given.content_type.decode("latin-1"),
        "found": found,
        "again": f"python -m benchmarks.fuzz --replay {seed}:{number}",
    }
    body.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")
    return body


def main() -> None:
    parser = argparse.ArgumentParser(description="Look for inputs that do what none should.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), metavar="FOLDER")
    parser.add_argument("--replay", metavar="SEED:NUMBER", help="try one input, in this process, and tell how it ends")
    given = parser.parse_args()
    if given.replay:
        seed, number = map(int, given.replay.split(":"))
        print(check(make(seed, number)))
        return
    result = run(given.seed, given.seconds)
    for outcome, count in result.outcomes.most_common():
        print(f"{count:>10,}  {outcome}")
    rate = result.inputs / result.seconds
    print(f"{result.inputs:,} inputs of seed {given.seed} in {result.seconds:.0f} s: {rate:,.0f} a second")
    print(f"{len(result.findings)} findings")
    for number, found in result.findings.items():
        print(f"  {write(given.findings, given.seed, number, found)}: {found.strip().splitlines()[-1]}")
    sys.exit(bool(result.findings))


if __name__ == "__main__":
    main()
