"""Send a million good and bad requests, and check that memory and open descriptors do not grow.

    python -m benchmarks.soak [--requests 1000000] [--plot docs/images/soak.png]

Sixteen connections on one core send digits in every form, photographs, batches, tensors and whole numbers, and also
files that are truncated, empty, too large or of the wrong type. The service runs on the other core and is measured
every few seconds. Ctrl-C ends the run early and prints the results so far.
"""

import argparse
import asyncio
import io
import json
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from app.cli.bench import select_loop_factory
from app.cli.bench_requests import make_request, sample_pictures
from app.cli.load_generator import Load
from benchmarks.fairness import make_photograph
from benchmarks.pinned_service import LOAD_CORE, count_descriptors, pin, run_service
from benchmarks.startup import resident_megabytes

SAMPLE_INTERVAL_S = 5.0
WARM_UP_SHARE = 0.1  # share of the requests that is left out when memory is compared
EXPECTED_STATUSES = {200, 400, 404, 405, 413, 415, 422}  # any other status is a finding


def encode_request(path: str, body: bytes, content_type: str, method: str = "POST") -> bytes:
    """Encode a request as HTTP/1.1."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def make_requests() -> list[bytes]:
    """Make more than a thousand requests, in a random order that is the same in each run."""
    digits = sample_pictures(400)
    photo = make_photograph()
    jpeg = io.BytesIO()
    Image.open(io.BytesIO(photo)).resize((320, 240)).save(jpeg, "JPEG")
    small_photo = jpeg.getvalue()
    requests = [make_request("x", "/predict", form, digit) for form in ("multipart", "raw", "json") for digit in digits]
    for number in range(20):
        requests.append(make_request("x", "/predict", "raw", small_photo))
        requests.append(encode_request("/predict/batch", *make_batch(digits[number : number + 8])))
        requests.append(encode_request("/v2/models/digitnet/infer", make_tensor(4), "application/json"))
        requests.append(encode_request("/read", small_photo, "image/jpeg"))
        requests.append(encode_request("/predict?normalize=always&preview=true", digits[number], "image/png"))
    for digit in digits[:40]:
        requests.append(encode_request("/predict", digit[: len(digit) // 2], "image/png"))  # truncated
        requests.append(encode_request("/predict", b"%PDF-1.7 " + digit, "image/png"))
        requests.append(encode_request("/predict", b'{"image": "!"}', "application/json"))
        requests.append(encode_request("/predict", b"", "image/png"))
        requests.append(encode_request("/predict", make_huge_png_header(), "image/png"))
        requests.append(encode_request(f"/nothing/{random.randrange(10**9)}", b"", "text/plain", "GET"))
        requests.append(encode_request("/predict", b"--x\r\nnot a form", "multipart/form-data; boundary=x"))
    requests.append(encode_request("/metrics", b"", "text/plain", "GET"))
    requests.append(encode_request("/info", b"", "text/plain", "GET"))
    random.Random(0).shuffle(requests)
    return requests


def make_batch(files: list[bytes]) -> tuple[bytes, str]:
    """Make a form with several files. Return the body and its content type."""
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="d.png"\r\n\r\n%b\r\n' % file for file in files
    ]
    return b"".join(parts) + b"--b--\r\n", "multipart/form-data; boundary=b"


def make_tensor(count: int) -> bytes:
    """Make a body of the Open Inference Protocol with random pictures."""
    data = np.random.default_rng(0).integers(0, 256, count * 784).tolist()
    entry = {"name": "images", "shape": [count, 28, 28], "datatype": "UINT8", "data": data}
    return json.dumps({"inputs": [entry]}).encode()


def make_huge_png_header() -> bytes:
    """Make a PNG whose header claims 50,000 x 50,000 pixels."""
    file = io.BytesIO()
    Image.new("1", (8, 8)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    return bytes(data)


def soak(url: str, pid: int, count: int) -> tuple[list[tuple[int, float, int]], Counter[int | str]]:
    """Send requests.

    Returns:
        Samples of (requests sent, MB resident, open descriptors), and the number of answers other than 2xx by status.
    """
    host, port = url.removeprefix("http://").split(":")
    requests, samples, errors, sent = make_requests(), [], Counter[int | str](), 0
    started = time.perf_counter()
    try:
        while sent < count:
            with asyncio.Runner(loop_factory=select_loop_factory()) as runner:
                tally = runner.run(Load((host, int(port)), requests, 16, SAMPLE_INTERVAL_S).run())
            sent += tally.requests
            errors += tally.errors
            samples.append((sent, resident_megabytes(pid), count_descriptors(pid)))
            rate = sent / (time.perf_counter() - started)
            print(
                f"\r{sent:,} of {count:,}  {samples[-1][1]:.1f} MB  {samples[-1][2]} descriptors  {rate:,.0f}/s  ",
                end="",
                flush=True,
            )
            requests = requests[1:] + requests[:1]
    except KeyboardInterrupt:
        pass
    print()
    return samples, errors


def plot(samples: list[tuple[int, float, int]], slope: float, file: Path) -> None:
    """Draw memory against the number of requests."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([sent / 1000 for sent, _, _ in samples], [mb for _, mb, _ in samples], color="#1b6ca8")
    axes.set_xlabel("thousand requests, good and bad")
    axes.set_ylabel("MB resident")
    axes.set_ylim(0, 1.3 * max(mb for _, mb, _ in samples))
    axes.set_title(f"{slope:+.2f} MB per 100,000 requests, after the first tenth", fontsize=10)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1_000_000, help="number of requests [1000000]")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw memory over requests to this file")
    arguments = parser.parse_args()
    pin(LOAD_CORE)
    with run_service() as (url, pid):
        samples, errors = soak(url, pid, arguments.requests)
    warm = [(sent, mb) for sent, mb, _ in samples if sent > WARM_UP_SHARE * arguments.requests]
    slope = float(np.polyfit([sent for sent, _ in warm], [mb for _, mb in warm], 1)[0]) * 100_000
    print(f"{samples[-1][0]:,} requests; not 2xx: {dict(sorted(errors.items(), key=str))}")
    print(
        f"memory after warm-up {warm[0][1]:.1f} MB, at the end {warm[-1][1]:.1f} MB: "
        f"{slope:+.2f} MB per 100,000 requests"
    )
    print(f"descriptors at first {samples[0][2]}, at the end {samples[-1][2]}")
    if unexpected := {kind: number for kind, number in errors.items() if kind not in EXPECTED_STATUSES}:
        print(f"unexpected: {unexpected}")
    if arguments.plot:
        plot(samples, slope, arguments.plot)
    raise SystemExit(bool(unexpected) or slope >= 1)


if __name__ == "__main__":
    main()
