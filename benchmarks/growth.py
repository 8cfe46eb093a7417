"""Measure how the service's cost grows with connections (1 to 512) and with digits per request (1 to 1,024).

    python -m benchmarks.growth [--seconds 5] [--output docs/images/growth.png]

Measures only digitserve, with the released model and its defaults. The service has core 0, the load core 1. The claim
is a straight line: the cost of a request does not depend on how many wait, and the cost of a batch is proportional to
its size.
"""

import argparse
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from matplotlib.ticker import StrMethodFormatter

from app.imaging.encode import to_png
from app.inference import model_folder
from app.settings import released_model
from benchmarks import load
from benchmarks.load import Post
from benchmarks.peers import OURS, ROOT
from benchmarks.results import Figure
from benchmarks.server_process import Server, run_contender
from benchmarks.servers import Images, load_digits, make_posts, measure_load, require_tools, try_post

CONNECTIONS = [2**power for power in range(10)]
BATCH_SIZES = [2**power for power in range(11)]  # digits per request
BATCH_CONNECTIONS = 2  # while one batch is answered, the next one has arrived
WARM_UP_S = 1.0

Line = dict[int, Figure]  # by number of connections, or by digits per request


def make_form(images: Images) -> Post:
    """Make a batch of pictures as a form with files."""
    return load.multipart_post("/predict/batch", "file", [to_png(image) for image in images])


def make_tensor(images: Images) -> Post:
    """Make a batch of pictures as a binary tensor."""
    name = model_folder.load(released_model()).manifest.name
    return load.binary_tensor_post(f"/v2/models/{name}/infer", images)


BATCH_FORMS: dict[str, Callable[[Images], Post]] = {"/predict/batch": make_form, "/v2, binary tensor": make_tensor}


def measure_warm(server: Server, requests: Sequence[Post], port: int, connections: int, seconds: float) -> Figure:
    """Measure the service under one load, after a warm-up."""
    load.run_wrk(requests, port, connections, WARM_UP_S)
    return measure_load(server, requests, port, connections, seconds)


def measure_connections(server: Server, images: Images, port: int, seconds: float) -> Line:
    """Send single digits over more and more connections."""
    requests, line = make_posts(OURS, images), {}
    for connections in CONNECTIONS:
        line[connections] = measure_warm(server, requests, port, connections, seconds)
        print(line[connections], flush=True)
    return line


def measure_batches(
    server: Server, images: Images, port: int, seconds: float, make_batch: Callable[[Images], Post]
) -> Line:
    """Send larger and larger batches, each with other digits than the next. Stop at the first size that fails."""
    line: Line = {}
    for size in BATCH_SIZES:
        starts = range(0, len(images), max(size, 100))
        requests = [make_batch(np.roll(images, -start, axis=0)[:size]) for start in starts]
        if error := try_post(requests[0], port):
            print(f"  {size:>5} digits: {error}; left out", flush=True)
            break
        figure = measure_warm(server, requests, port, BATCH_CONNECTIONS, seconds)
        if not figure.per_second:
            print(f"  {size:>5} digits: no answer within {seconds:g} s; left out", flush=True)
            break
        line[size] = figure
        rate, cost = figure.per_second * size, figure.cpu_us / size
        print(f"  {size:>5} digits: {rate:>8,.0f} digits/s, {cost:,.1f} µs of CPU per digit, {figure}", flush=True)
    return line


def draw(axes: Axes, title: str, x_label: str, lines: dict[str, dict[int, float]], proportion: bool = True) -> None:
    """Draw lines on logarithmic axes, with a proportional line for comparison."""
    for label, line in lines.items():
        axes.plot(list(line), list(line.values()), marker="o", markersize=3, label=label)
    if proportion and lines:
        first = next(iter(lines.values()))
        last = max(first)
        axes.plot(
            list(first), [first[last] * x / last for x in first], "--", color="grey", lw=0.8, label="proportional"
        )
    axes.set(title=title, xlabel=x_label, xscale="log", yscale="log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.set_xticks([1, 4, 16, 64, 256, 1024][: 6 if max(map(max, lines.values()), default=0) > 512 else 5])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def plot(by_connections: Line, batches: dict[str, Line], path: Path) -> None:
    """Draw the cost and the latency of a request by connections, and the cost of a batch by its size."""
    cost, latency, batch = Plot(figsize=(12, 3.8), layout="constrained").subplots(1, 3)
    costs = {"POST /predict": {n: it.cpu_us / 1e3 for n, it in by_connections.items()}}
    draw(cost, "CPU per request, ms", "connections", costs, proportion=False)
    cost.set_ylim(bottom=0.01, top=10)
    latencies = {
        "p50": {n: it.p50_ms for n, it in by_connections.items()},
        "p99": {n: it.p99_ms for n, it in by_connections.items()},
    }
    draw(latency, "latency, ms", "connections", latencies)
    costs = {name: {n: it.cpu_us / 1e3 for n, it in line.items()} for name, line in batches.items() if line}
    draw(batch, "CPU per request, ms", "digits per request", costs)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cost.figure
    cost.figure.savefig(path, dpi=110)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5, help="seconds of load for each point [5]")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        default=ROOT / "docs" / "images" / "growth.png",
        help="file of the plot [docs/images/growth.png]",
    )
    arguments = parser.parse_args()
    require_tools()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops the service properly, too
    os.sched_setaffinity(0, {int(load.LOAD_CORE)})
    images = load_digits()
    with run_contender(OURS) as (server, port):
        server.wait_until_ready(partial(try_post, make_posts(OURS, images[:1])[0], port))
        by_connections = measure_connections(server, images, port, arguments.seconds)
        batches = {}
        for name, make_batch in BATCH_FORMS.items():
            print(name, flush=True)
            batches[name] = measure_batches(server, images, port, arguments.seconds, make_batch)
    plot(by_connections, batches, arguments.output)


if __name__ == "__main__":
    main()
