"""Read every picture of a folder, 32 in a request, and try again while the service is busy or restarts.

python batch.py digits/ http://localhost:8000
"""

import random
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import httpx

BATCH = 32  # pictures in one request
ATTEMPTS = 8
MAX_WAIT_S = 30.0
BUSY = (429, 502, 503, 504)  # the answer of the service, or of a proxy while the service is away


def post(client: httpx.Client, files: list[tuple[str, tuple[str, bytes]]]) -> dict:
    """Post a batch. Reading has no side effects, so it is safe to send a request again."""
    for attempt in range(ATTEMPTS):
        wait_s = min(0.5 * 2**attempt, MAX_WAIT_S)
        try:
            response = client.post("/predict/batch", files=files)
            if response.status_code not in BUSY:
                return response.raise_for_status().json()
            fault, wait_s = response.status_code, float(response.headers.get("Retry-After", wait_s))
        except httpx.TransportError as error:  # no connection, or one that broke
            fault = error
        wait_s *= random.uniform(1.0, 1.5)  # so that many clients do not come back at the same moment
        print(f"{fault}; trying again in {wait_s:.1f} s", file=sys.stderr)
        time.sleep(wait_s)
    sys.exit(f"the service did not answer {ATTEMPTS} times")


def make_batches(folder: str) -> Iterator[list[Path]]:
    """Yield the names of the pictures, some at a time."""
    names = iter(sorted(Path(folder).glob("*.png")))
    while batch := list(islice(names, BATCH)):
        yield batch


def main(folder: str, url: str) -> None:
    with httpx.Client(base_url=url, timeout=60) as client:
        for batch in make_batches(folder):
            answers = post(client, [("file", (name.name, name.read_bytes())) for name in batch])["predictions"]
            for name, answer in zip(batch, answers, strict=True):
                if "detail" in answer:  # this picture cannot be read; the others can
                    print(f"{name.name}: {answer['detail']}")
                else:
                    print(f"{name.name}: {answer['digit'] if answer['accepted'] else answer['reason']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
