"""How long a single digit waits while others keep the service busy: photographs, junk, large batches, all of them.

The service runs on one core, all that asks it on the other. Digits come at a steady rate, in an open loop, and their
latency is counted from when they should have started; meanwhile one or several neighbours send as fast as they are
answered.
"""

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from app import bundle
from benchmarks.pinned import LOAD_CORE, bench, serving, start

RATE = 100  # digits a second
NEIGHBOURS = ("photographs", "junk", "batches")


def photograph() -> bytes:
    """A 12 MP JPEG of a digit on paper, with grain."""
    digit = bundle.load(bundle.released()).manifest.golden[7].image
    paper = Image.new("L", (4000, 3000), 225)
    ink = Image.fromarray(digit).resize((1400, 1400), Image.Resampling.BICUBIC)
    paper.paste(30, (1300, 800), ink)
    grain = np.random.default_rng(0).normal(0, 4, (3000, 4000))
    file = io.BytesIO()
    Image.fromarray((np.asarray(paper) + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def junk(number: int) -> bytes:
    """A 28x28 picture that the fast network is unsure of: two digits, one over the other."""
    golden = bundle.load(bundle.released()).manifest.golden
    random = np.random.default_rng(number)
    first, second = random.choice(len(golden), 2, replace=False)
    turned = np.rot90(golden[second].image, int(random.integers(1, 4)))
    file = io.BytesIO()
    Image.fromarray(np.maximum(golden[first].image, turned)).save(file, "PNG")
    return file.getvalue()


def send_for_ever(kind: str, url: str) -> None:
    """Be a neighbour: send, and send again when answered."""
    with httpx.Client(timeout=60) as client:
        if kind == "photographs":
            body = photograph()
            while True:
                client.post(f"{url}/predict", files={"file": body})
        golden = [golden.image for golden in bundle.load(bundle.released()).manifest.golden]
        files = []
        for number in range(1000):
            file = io.BytesIO()
            Image.fromarray(golden[number % len(golden)]).save(file, "PNG")
            files.append(("file", (f"{number}.png", file.getvalue())))
        while True:
            client.post(f"{url}/predict/batch", files=files)


@contextmanager
def neighbour(kind: str, url: str) -> Iterator[None]:
    """Two clients with photographs, four connections of junk, or one client with batches of 1,000 digits."""
    with ExitStack() as stack:
        if kind == "junk":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            files = [folder / f"{number}.png" for number in range(300)]
            for number, file in enumerate(files):
                file.write_bytes(junk(number))
            sends = ["-m", "app", "bench", *map(str, files), "--connections", "4", "--seconds", "3600", "--url", url]
            processes = [start([sys.executable, *sends], LOAD_CORE)]
        else:
            sends = ["-m", "benchmarks.fairness", "--neighbour", kind, "--url", url]
            processes = [start([sys.executable, *sends], LOAD_CORE) for _ in range(2 if kind == "photographs" else 1)]
        time.sleep(4)  # it makes its pictures first
        try:
            yield
        finally:
            for process in processes:
                process.kill()
                process.wait(timeout=30)


def probe(url: str, seconds: float) -> dict[str, float]:
    """Latencies of single digits, in ms."""
    found = bench(url, "--rate", str(RATE), "--seconds", str(seconds))
    return {**found["latency_ms"], "errors": sum(found["errors"].values())}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each row [%(default)g]")
    parser.add_argument("--neighbour", choices=NEIGHBOURS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.neighbour:
        send_for_ever(arguments.neighbour, arguments.url)
    print(f"{RATE} single digits a second, for {arguments.seconds:g} s each; milliseconds")
    print(f"{'neighbours':34}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}{'errors':>8}")
    with serving() as (url, _):
        for kinds in ((), *((kind,) for kind in NEIGHBOURS), NEIGHBOURS):
            with ExitStack() as stack:
                for kind in kinds:
                    stack.enter_context(neighbour(kind, url))
                row = probe(url, arguments.seconds)
            figures = "".join(f"{row[name]:8.2f}" for name in ("p50", "p90", "p99", "max"))
            print(f"{', '.join(kinds) or 'none':34}{figures}{row['errors']:8.0f}", flush=True)


if __name__ == "__main__":
    main()
