"""Search for inputs that harm the service: real inputs, changed at random, through all the code that reads them.

    python -m benchmarks.fuzz [--seconds 60] [--seed 1] [--findings fuzz-findings] [--replay 1:4711]

Each input takes the path of a request to /predict and to /read, up to the network, in a separate process. It must end
with a picture within the limits or with a ``RequestError``, in time and in little memory. Plain PNGs and plain forms
have a fast and a general reader, and both must agree. Anything else is a finding. Findings are written to a folder,
with the seed and number that reproduce them.
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

from app.errors import CrowdedPictureError, MalformedRequestError, RequestError
from app.http.image_upload import extract_image
from app.http.multipart import BOUNDARY, parse_files, split_files
from app.imaging.decode import decode, decode_plain_png, open_image
from app.imaging.normalize import normalize
from app.recognition.page import open_page
from benchmarks.mutations import CORPUS, Input, make_input

SPAWN = multiprocessing.get_context("spawn")
MAX_PIXELS = 1_000_000
START_TIMEOUT_S = 60.0  # for a worker process to get ready
MAX_CPU_S = 1.0  # CPU time for one input
HANG_TIMEOUT_S = 60.0  # wall-clock time for one input; generous, because the machine may be busy
MAX_GROWTH_MB = 200  # memory for one input, on top of the peak before it
MAX_ADDRESS_SPACE = 8 << 30  # bytes; a decompression bomb then ends the process and not the machine


Check = Callable[[Input], str]  # tries an input and says how it ended; an exception is a finding


class Finding(Exception):
    """Something that must not happen, described in words."""


@dataclass
class Result:
    """The outcome of a run."""

    outcomes: Counter[str] = field(default_factory=Counter)  # how the inputs ended
    findings: dict[int, str] = field(default_factory=dict)  # number of the input -> description
    seconds: float = 0.0

    @property
    def inputs(self) -> int:
        return sum(self.outcomes.values())


def check_input(given: Input) -> str:
    """Process an input as a request would be, and say how it ended.

    Raises:
        Exception: Any exception is a finding.
    """
    compare_form_readers(given)
    try:
        data = extract_image(*given)
    except RequestError as error:
        return type(error).__name__
    plain = decode_plain_png(data, MAX_PIXELS)
    try:
        picture = decode(data, MAX_PIXELS)
    except RequestError as error:
        if plain:
            raise Finding("the plain PNG decoder reads a file that the general decoder rejects") from error
        return type(error).__name__
    if plain and not np.array_equal(plain.pixels, picture.pixels):
        raise Finding("the plain PNG decoder reads other pixels than the general decoder")
    if picture.pixels.dtype != np.uint8 or picture.pixels.ndim != 2 or not 0 < picture.pixels.size <= MAX_PIXELS:
        raise Finding(f"pixels of {picture.pixels.dtype}, {picture.pixels.shape}")
    for mode in ("auto", "always", "never"):
        result = normalize(picture.pixels, mode)
        if result.pixels.shape != (28, 28) or result.pixels.dtype != np.uint8:
            raise Finding(f"normalised to {result.pixels.dtype}, {result.pixels.shape}")
        if result.box:
            box = picture.to_full_size(result.box)
            if box.left < 0 or box.top < 0 or box.right > picture.width or box.bottom > picture.height:
                raise Finding(f"{box} is not within {picture.width} x {picture.height}")
    with suppress(CrowdedPictureError):
        page = open_page(open_image(data, MAX_PIXELS))
        if any(pixels.shape != (28, 28) for pixels in page.candidates):
            raise Finding("a candidate for a digit is not 28x28")
    return f"read, {picture.format}"


def compare_form_readers(given: Input) -> None:
    """Check that the form splitter and the form parser find the same files.

    Raises:
        Finding: They differ.
    """
    boundary = BOUNDARY.fullmatch(given.content_type)
    if not boundary or (split := split_files(boundary[1], given.body, 1)) is None:
        return
    try:
        parsed = parse_files(boundary[1], given.body, 1)
    except MalformedRequestError as error:
        raise Finding("the form splitter finds files in a form that the parser rejects") from error
    if split != parsed:
        raise Finding("the form splitter finds other files than the parser")


def try_inputs(check: Check, seed: int, first: int, to: Connection) -> None:
    """Try one input after the other until this process is killed, and send the outcome of each."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.filterwarnings("ignore", module="PIL")
    for name in ("python_multipart", "PIL"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE, MAX_ADDRESS_SPACE))
    for given in CORPUS:
        check(given)  # imports and one-time allocations must not count against the first input
    number, peak = first, peak_megabytes()
    to.send("ready")
    while True:
        description, given, started = None, make_input(seed, number), time.process_time()
        try:
            outcome = check(given)
        except Exception:
            outcome, description = "finding", traceback.format_exc()
        if (seconds := time.process_time() - started) > MAX_CPU_S:
            outcome, description = "finding", f"it took {seconds:.1f} s"
        if (new_peak := peak_megabytes()) > peak:
            if new_peak - peak > MAX_GROWTH_MB:
                outcome, description = "finding", f"it took {new_peak - peak:.0f} MB"
            peak = new_peak
        to.send((outcome, description))
        number += 1


def peak_megabytes() -> float:
    """Return the peak memory of this process. (getrusage would include memory of its parent.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextmanager
def run_worker(check: Check, seed: int, first: int) -> Iterator[tuple[SpawnProcess, Connection]]:
    """Start a process that tries inputs from number ``first`` on. Yield it, and the connection for its outcomes."""
    ours, theirs = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=try_inputs, args=(check, seed, first, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        ours.close()


def run(
    seed: int,
    seconds: float = math.inf,
    inputs: float = math.inf,
    check: Check = check_input,
    hang_timeout: float = HANG_TIMEOUT_S,
) -> Result:
    """Try inputs for some time, or up to some number of them.

    An input that hangs or ends its process is a finding; the run continues with the next input.
    """
    started = time.monotonic()
    result, number, end = Result(), 0, started + seconds
    while time.monotonic() < end and number < inputs:
        with run_worker(check, seed, number) as (process, outcomes):
            alive = outcomes.poll(START_TIMEOUT_S) and outcomes.recv() is not None
            while alive and time.monotonic() < end and number < inputs:
                description: str | None
                try:
                    alive = outcomes.poll(hang_timeout)
                    outcome, description = (
                        outcomes.recv() if alive else ("finding", f"it did not end within {hang_timeout} s")
                    )
                except EOFError:
                    process.join()
                    alive, outcome, description = False, "finding", f"its process ended with {process.exitcode}"
                result.outcomes[outcome] += 1
                if description:
                    result.findings[number] = description
                number += 1
    result.seconds = time.monotonic() - started
    return result


def write_finding(folder: Path, seed: int, number: int, description: str) -> Path:
    """Write a finding: its body, and a JSON file that says what happened and how to reproduce it."""
    folder.mkdir(parents=True, exist_ok=True)
    given = make_input(seed, number)
    body = folder / f"{seed}-{number}.body"
    body.write_bytes(given.body)
    about = {
        "content_type": given.content_type.decode("latin-1"),
        "found": description,
        "again": f"python -m benchmarks.fuzz --replay {seed}:{number}",
    }
    body.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")
    return body


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz", description="Search for inputs that harm the service."
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long to search [%(default)g]")
    parser.add_argument("--seed", type=int, default=1, help="seed of the inputs [%(default)s]")
    parser.add_argument(
        "--findings",
        type=Path,
        default=Path("fuzz-findings"),
        metavar="FOLDER",
        help="folder for findings [%(default)s]",
    )
    parser.add_argument("--replay", metavar="SEED:NUMBER", help="try one input, in this process, and say how it ended")
    arguments = parser.parse_args()
    if arguments.replay:
        seed, number = map(int, arguments.replay.split(":"))
        print(check_input(make_input(seed, number)))
        return
    result = run(arguments.seed, arguments.seconds)
    for outcome, count in result.outcomes.most_common():
        print(f"{count:>10,}  {outcome}")
    rate = result.inputs / result.seconds
    print(f"{result.inputs:,} inputs of seed {arguments.seed} in {result.seconds:.0f} s: {rate:,.0f} per second")
    print(f"{len(result.findings)} findings")
    for number, description in result.findings.items():
        file = write_finding(arguments.findings, arguments.seed, number, description)
        print(f"  {file}: {description.strip().splitlines()[-1]}")
    sys.exit(bool(result.findings))


if __name__ == "__main__":
    main()
