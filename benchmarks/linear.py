"""How the service's cost grows: with connections from 1 to 512, and with digits in a request from 1 to 1,024.

    python -m benchmarks.linear [--seconds 5] [--output docs/images/linear.png]

Ours alone, with the released model and its defaults; core 0 is the service's, core 1 the load's. A straight line is the
claim: what a request costs stays the same however many wait, and a batch costs as its digits do.
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

from app import bundle
from benchmarks import load
from benchmarks.load import Post
from benchmarks.peers import OURS, ROOT
from benchmarks.results import Figure
from benchmarks.servers import Images, digits, figure, obstacle, posts, require_tools
from benchmarks.serving import Server, started

CONNECTIONS = [2**power for power in range(10)]
SIZES = [2**power for power in range(11)]  # digits in a request
PARALLEL = 2  # connections that send batches: while one is answered, the next is there
WARM_UP = 1.0  # seconds

Line = dict[int, Figure]  # by connections, or by digits in a request


def forms(images: Images) -> Post:
    return load.multipart("/predict/batch", "file", [load.png(image) for image in images])


def tensors(images: Images) -> Post:
    name = bundle.load(bundle.released()).manifest.name
    return load.binary_tensor(f"/v2/models/{name}/infer", images)


BATCHES: dict[str, Callable[[Images], Post]] = {"/predict/batch": forms, "/v2, binary tensor": tensors}


def warm(server: Server, requests: Sequence[Post], port: int, connections: int, seconds: float) -> Figure:
    load.run(requests, port, connections, WARM_UP)
    return figure(server, requests, port, connections, seconds)


def by_connections(server: Server, images: Images, port: int, seconds: float) -> Line:
    requests, line = posts(OURS, images), {}
    for connections in CONNECTIONS:
        line[connections] = warm(server, requests, port, connections, seconds)
        print(line[connections], flush=True)
    return line


def by_size(server: Server, images: Images, port: int, seconds: float, pack: Callable[[Images], Post]) -> Line:
    """Send batches, each of other digits than the next; an empty line where there is no such address."""
    line: Line = {}
    for size in SIZES:
        starts = range(0, len(images), max(size, 100))
        requests = [pack(np.roll(images, -start, axis=0)[:size]) for start in starts]
        if told := obstacle(requests[0], port):
            print(f"  {size:>5} digits: {told}; left out", flush=True)
            break
        seen = warm(server, requests, port, PARALLEL, seconds)
        if not seen.per_second:
            print(f"  {size:>5} digits: none was answered within {seconds:g} s; left out", flush=True)
            break
        line[size] = seen
        rate, cost = seen.per_second * size, seen.cpu_us / size
        print(f"  {size:>5} digits: {rate:>8,.0f} digits/s, {cost:,.1f} µs of CPU a digit, {seen}", flush=True)
    return line


def draw(axes: Axes, title: str, across: str, lines: dict[str, dict[int, float]], proportion: bool = True) -> None:
    """Draw lines on logarithmic axes."""
    for label, line in lines.items():
        axes.plot(list(line), list(line.values()), marker="o", markersize=3, label=label)
    if proportion and lines:
        first = next(iter(lines.values()))
        last = max(first)
        axes.plot(
            list(first), [first[last] * x / last for x in first], "--", color="grey", lw=0.8, label="in proportion"
        )
    axes.set(title=title, xlabel=across, xscale="log", yscale="log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.set_xticks([1, 4, 16, 64, 256, 1024][: 6 if max(map(max, lines.values()), default=0) > 512 else 5])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def plot(crowd: Line, batches: dict[str, Line], path: Path) -> None:
    """Draw what a request costs, how long it waits, and what a batch costs."""
    cost, wait, batch = Plot(figsize=(12, 3.8), layout="constrained").subplots(1, 3)
    costs = {"POST /predict": {n: it.cpu_us / 1e3 for n, it in crowd.items()}}
    draw(cost, "CPU a request, ms", "connections", costs, proportion=False)
    cost.set_ylim(bottom=0.01, top=10)
    waits = {"p50": {n: it.p50_ms for n, it in crowd.items()}, "p99": {n: it.p99_ms for n, it in crowd.items()}}
    draw(wait, "answered within, ms", "connections", waits)
    costs = {name: {n: it.cpu_us / 1e3 for n, it in line.items()} for name, line in batches.items() if line}
    draw(batch, "CPU a request, ms", "digits in the request", costs)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cost.figure
    cost.figure.savefig(path, dpi=110)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.linear", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5, help="of load for each point [5]")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images" / "linear.png", help="of the plot")
    arguments = parser.parse_args()
    require_tools()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends this ends it in good order
    os.sched_setaffinity(0, {int(load.CORE)})
    images = digits()
    with started(OURS) as (server, port):
        server.wait_until_ready(partial(obstacle, posts(OURS, images[:1])[0], port))
        crowd = by_connections(server, images, port, arguments.seconds)
        batches = {}
        for name, pack in BATCHES.items():
            print(name, flush=True)
            batches[name] = by_size(server, images, port, arguments.seconds, pack)
    plot(crowd, batches, arguments.output)


if __name__ == "__main__":
    main()
