"""Compares `digitserve bulk` (Ray Data) with `digitserve predict --url`, and kills a machine of its cluster half-way.

    python -m benchmarks.bulk
    python -m benchmarks.bulk --kill --count 100000

Both read the same folder of 28x28 PNG files. `predict --url` asks one service with one process. Ray has one core, for
one engine; with `--kill` it has two machines with a core each, until one of them dies. Rates leave out the start: they
are those of the pictures after the first result.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
from ray.cluster_utils import Cluster

from app.cli.client import connect
from app.cli.image_files import find_image_files
from app.cli.ray_job import connected, list_pictures, read_pictures
from app.cli.results import Outcome
from app.inference import model_folder
from app.settings import Settings, released_model
from tests.support.running import running

FOLDER_SIZE = 1_000  # files in a folder
OnCount = Callable[[int], None]  # gets how many pictures are read


def write_pictures(folder: Path, count: int) -> None:
    """Write the released model's golden digits again and again, in a random order."""
    golden = [digit.image for digit in model_folder.load(released_model()).manifest.golden]
    pictures = [cv2.imencode(".png", image)[1].tobytes() for image in golden]
    for number, picture in enumerate(random.Random(0).choices(pictures, k=count)):
        path = folder / f"{number // FOLDER_SIZE:05}" / f"{number:08}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture)


class Rate:
    """The pictures per second between the first result and the last."""

    def __init__(self) -> None:
        self._points: list[tuple[float, int]] = []

    def update(self, count: int) -> None:
        self._points.append((time.perf_counter(), count))

    @property
    def value(self) -> float:
        (started, first), (ended, last) = self._points[0], self._points[-1]
        return (last - first) / (ended - started)


def measure_url(folder: Path) -> float:
    """Return the rate of ``predict --url`` with one process that serves."""
    rate, done = Rate(), 0

    def on_outcomes(outcomes: Sequence[Outcome]) -> None:
        nonlocal done
        done += len(outcomes)
        rate.update(done)

    async def read(url: str) -> None:
        async with connect(url, "", False) as client:
            await client.read(find_image_files([folder]), on_outcomes)

    with running() as server:
        asyncio.run(read(server.url))
    return rate.value


def measure_ray(folder: Path, address: str, on_count: OnCount = lambda count: None) -> tuple[float, list[str]]:
    """Return the rate of ``bulk`` on a cluster, and the pictures that it read."""
    rate = Rate()
    paths: list[str] = []
    with connected(address):
        for table in read_pictures(list_pictures([str(folder)], set()), Settings(_env_file=None), False):
            paths += table["path"].to_pylist()
            rate.update(len(paths))
            on_count(len(paths))
    return rate.value, paths


def kill_half_way(folder: Path, count: int) -> bool:
    """Read all pictures on two machines, one of which dies half-way. Return whether each was read exactly once."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    dead = False

    def kill(done: int) -> None:
        nonlocal dead
        if not dead and done > count / 2:
            cluster.remove_node(node, allow_graceful=False)
            dead = True

    started = time.perf_counter()
    try:
        _, paths = measure_ray(folder, cluster.address, kill)
    finally:
        cluster.shutdown()
    seconds = time.perf_counter() - started
    lost, twice = count - len(set(paths)), len(paths) - len(set(paths))
    print(f"{count:,} pictures, one of two machines killed half-way: {lost} lost, {twice} read twice, {seconds:.0f} s")
    return dead and not lost and not twice


def compare(folder: Path, rounds: int) -> None:
    """Print the rates of both, and their ratio."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    ratios = []
    try:
        for _ in range(rounds):
            url, (bulk, _) = measure_url(folder), measure_ray(folder, cluster.address)
            ratios.append(bulk / url)
            print(f"predict --url {url:6,.0f}/s   bulk {bulk:6,.0f}/s   {bulk / url:.2f}", flush=True)
    finally:
        cluster.shutdown()
    print(f"median ratio {statistics.median(ratios):.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="pictures [%(default)s]")
    parser.add_argument("--rounds", type=int, default=3, help="comparisons [%(default)s]")
    parser.add_argument("--kill", action="store_true", help="kill a machine half-way, instead of comparing rates")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        write_pictures(Path(name), arguments.count)
        if arguments.kill:
            return 0 if kill_half_way(Path(name), arguments.count) else 1
        compare(Path(name), arguments.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
