"""Measure how long a single digit waits while neighbours keep the service busy.

The neighbours are photographs, pages, doubtful digits, large batches, and all of them together. The service runs on one
core, all clients on the other. Digits arrive at a steady rate in an open loop, and latency counts from when a request
should have started. Each neighbour sends its next request as soon as it has an answer.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from app.inference import model_folder
from app.settings import released_model
from benchmarks.pinned_service import LOAD_CORE, run_bench, run_service, start_process
from tests.support.pictures import encode, png
from tests.support.pictures import make_page as draw_page

RATE = 100  # digits per second
NEIGHBOURS = ("photographs", "pages", "doubtful digits", "batches")
CLIENTS = {"photographs": 2, "pages": 1, "batches": 1}  # "doubtful digits" come on four connections of one process


def make_photograph() -> bytes:
    """Make a 12 MP JPEG of a digit on paper, with grain."""
    digit = model_folder.load(released_model()).manifest.golden[7].image
    paper = Image.new("L", (4000, 3000), 225)
    ink = Image.fromarray(digit).resize((1400, 1400), Image.Resampling.BICUBIC)
    paper.paste(30, (1300, 800), ink)
    grain = np.random.default_rng(0).normal(0, 4, (3000, 4000))
    return encode(Image.fromarray((np.asarray(paper) + grain).clip(0, 255).astype(np.uint8)), "JPEG", quality=90)


def make_page() -> bytes:
    """Make a JPEG of a page with five lines of six digits, 60 px high."""
    golden = [golden.image for golden in model_folder.load(released_model()).manifest.golden]
    rows = [[golden[(6 * row + column) % len(golden)] for column in range(6)] for row in range(5)]
    return encode(Image.fromarray(draw_page(rows, size=84)), "JPEG", quality=90)


def make_doubtful_digit(seed: int) -> bytes:
    """Make a 28x28 picture that the fast network is unsure of: two digits, one over the other."""
    golden = model_folder.load(released_model()).manifest.golden
    generator = np.random.default_rng(seed)
    first, second = generator.choice(len(golden), 2, replace=False)
    turned = np.rot90(golden[second].image, int(generator.integers(1, 4)))
    return png(np.maximum(golden[first].image, turned))


def send_forever(kind: str, url: str) -> None:
    """Act as a neighbour: send a request whenever the last one is answered."""
    with httpx.Client(timeout=60) as client:
        if kind in ("photographs", "pages"):
            path, body = ("/predict", make_photograph()) if kind == "photographs" else ("/read", make_page())
            while True:
                client.post(f"{url}{path}", files={"file": body}).raise_for_status()
        golden = [golden.image for golden in model_folder.load(released_model()).manifest.golden]
        files = [("file", (f"{number}.png", png(golden[number % len(golden)]))) for number in range(1000)]
        while True:
            client.post(f"{url}/predict/batch", files=files).raise_for_status()


@contextmanager
def run_neighbour(kind: str, url: str) -> Iterator[None]:
    """Run the clients of one kind. A batch has 1,000 digits."""
    with ExitStack() as stack:
        if kind == "doubtful digits":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            files = [folder / f"{number}.png" for number in range(300)]
            for number, file in enumerate(files):
                file.write_bytes(make_doubtful_digit(number))
            command = ["-m", "app", "bench", *map(str, files), "--connections", "4", "--seconds", "3600", "--url", url]
            processes = [start_process([sys.executable, *command], LOAD_CORE)]
        else:
            command = ["-m", "benchmarks.fairness", "--neighbour", kind, "--url", url]
            processes = [start_process([sys.executable, *command], LOAD_CORE) for _ in range(CLIENTS[kind])]
        time.sleep(4)  # it makes its pictures before it sends any
        try:
            yield
            if any(process.poll() is not None for process in processes):
                raise SystemExit(f"The neighbour with {kind} ended early, so this row is worth nothing.")
        finally:
            for process in processes:
                process.kill()
                process.wait(timeout=30)


def measure_latency(url: str, seconds: float) -> dict[str, float]:
    """Return latency percentiles of single digits in ms, and the number of errors."""
    result = run_bench(url, "--rate", str(RATE), "--seconds", str(seconds))
    return {**result["latency_ms"], "errors": sum(result["errors"].values())}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of each row [%(default)g]")
    parser.add_argument("--neighbour", choices=NEIGHBOURS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.neighbour:
        send_forever(arguments.neighbour, arguments.url)
    print(f"{RATE} single digits per second, {arguments.seconds:g} s per row; milliseconds")
    print(f"{'neighbours':46}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}{'errors':>8}")
    with run_service() as (url, _):
        for kinds in ((), *((kind,) for kind in NEIGHBOURS), NEIGHBOURS):
            with ExitStack() as stack:
                for kind in kinds:
                    stack.enter_context(run_neighbour(kind, url))
                row = measure_latency(url, arguments.seconds)
            figures = "".join(f"{row[name]:8.2f}" for name in ("p50", "p90", "p99", "max"))
            print(f"{', '.join(kinds) or 'none':46}{figures}{row['errors']:8.0f}", flush=True)


if __name__ == "__main__":
    main()
