"""A million requests, good and bad: whether memory and descriptors stay where they are.

    python -m benchmarks.soak [--requests 1000000] [--plot docs/images/soak.png]

Sixteen connections on one core send what people send and what they should not: digits in every form, photographs,
batches, tensors, whole numbers, and files that are cut short, of other types, too large or empty. The service, on the
other core, is looked at every few seconds. Ctrl-C ends it early, and tells what was found so far.
"""

import argparse
import asyncio
import io
import json
import os
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from app.bench import golden_digits, loop_factory, prepare
from app.load import Load
from benchmarks.fairness import photograph
from benchmarks.pinned import LOAD_CORE, descriptors, serving
from benchmarks.startup import resident_megabytes

SLICE = 5.0  # seconds from one look at the service to the next
WARM = 0.1  # share of the requests after which memory is compared
STATUSES = {200, 400, 404, 405, 413, 415, 422}  # that this mixture should get; anything else is a finding


def request(path: str, body: bytes, content_type: str, method: str = "POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def mixture() -> list[bytes]:
    """A thousand requests and more, in a random order that is the same at each run."""
    digits = golden_digits(400)
    photo = photograph()
    jpeg = io.BytesIO()
    Image.open(io.BytesIO(photo)).resize((320, 240)).save(jpeg, "JPEG")
    small_photo = jpeg.getvalue()
    requests = [prepare("x", "/predict", form, digit) for form in ("multipart", "raw", "json") for digit in digits]
    for number in range(20):
        requests.append(prepare("x", "/predict", "raw", small_photo))
        requests.append(request("/predict/batch", *batch(digits[number : number + 8])))
        requests.append(request("/v2/models/digitnet/infer", tensor(4), "application/json"))
        requests.append(request("/read", small_photo, "image/jpeg"))
        requests.append(request("/predict?normalize=always&preview=true", digits[number], "image/png"))
    for digit in digits[:40]:
        requests.append(request("/predict", digit[: len(digit) // 2], "image/png"))  # cut short
        requests.append(request("/predict", b"%PDF-1.7 " + digit, "image/png"))
        requests.append(request("/predict", b'{"image": "!"}', "application/json"))
        requests.append(request("/predict", b"", "image/png"))
        requests.append(request("/predict", huge_header(), "image/png"))
        requests.append(request(f"/nothing/{random.randrange(10**9)}", b"", "text/plain", "GET"))
        requests.append(request("/predict", b"--x\r\nnot a form", "multipart/form-data; boundary=x"))
    requests.append(request("/metrics", b"", "text/plain", "GET"))
    requests.append(request("/info", b"", "text/plain", "GET"))
    random.Random(0).shuffle(requests)
    return requests


def batch(files: list[bytes]) -> tuple[bytes, str]:
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="d.png"\r\n\r\n%b\r\n' % file for file in files
    ]
    return b"".join(parts) + b"--b--\r\n", "multipart/form-data; boundary=b"


def tensor(count: int) -> bytes:
    data = np.random.default_rng(0).integers(0, 256, count * 784).tolist()
    entry = {"name": "images", "shape": [count, 28, 28], "datatype": "UINT8", "data": data}
    return json.dumps({"inputs": [entry]}).encode()


def huge_header() -> bytes:
    """A PNG that says it has 50,000 x 50,000 pixels."""
    file = io.BytesIO()
    Image.new("1", (8, 8)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    return bytes(data)


def soak(url: str, pid: int, count: int) -> tuple[list[tuple[int, float, int]], Counter[int | str]]:
    """Send so many requests: after each slice how many were sent, MB resident, descriptors; and what was not a 2xx."""
    host, port = url.removeprefix("http://").split(":")
    requests, looks, others, sent = mixture(), [], Counter[int | str](), 0
    began = time.perf_counter()
    try:
        while sent < count:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                tally = runner.run(Load((host, int(port)), requests, 16, SLICE).run())
            sent += tally.requests
            others += tally.errors
            looks.append((sent, resident_megabytes(pid), descriptors(pid)))
            rate = sent / (time.perf_counter() - began)
            print(
                f"\r{sent:,} of {count:,}  {looks[-1][1]:.1f} MB  {looks[-1][2]} descriptors  {rate:,.0f}/s  ",
                end="",
                flush=True,
            )
            requests = requests[1:] + requests[:1]
    except KeyboardInterrupt:
        pass
    print()
    return looks, others


def plot(looks: list[tuple[int, float, int]], slope: float, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([sent / 1000 for sent, _, _ in looks], [mb for _, mb, _ in looks], color="#1b6ca8")
    axes.set_xlabel("thousand requests, good and bad")
    axes.set_ylabel("MB resident")
    axes.set_ylim(0, 1.3 * max(mb for _, mb, _ in looks))
    axes.set_title(f"{slope:+.2f} MB in 100,000 requests after the first tenth", fontsize=10)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--plot", type=Path, help="where to draw the curve")
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, LOAD_CORE)
    with serving() as (url, pid):
        looks, others = soak(url, pid, arguments.requests)
    warm = [(sent, mb) for sent, mb, _ in looks if sent > WARM * arguments.requests]
    slope = float(np.polyfit([sent for sent, _ in warm], [mb for _, mb in warm], 1)[0]) * 100_000
    print(f"{looks[-1][0]:,} requests; not 2xx: {dict(sorted(others.items(), key=str))}")
    print(
        f"memory after warm-up {warm[0][1]:.1f} MB, at the end {warm[-1][1]:.1f} MB: "
        f"{slope:+.2f} MB in 100,000 requests"
    )
    print(f"descriptors {looks[0][2]}, at the end {looks[-1][2]}")
    if unexpected := {what: number for what, number in others.items() if what not in STATUSES}:
        print(f"not expected: {unexpected}")
    if arguments.plot:
        plot(looks, slope, arguments.plot)
    raise SystemExit(bool(unexpected) or slope >= 1)


if __name__ == "__main__":
    main()
