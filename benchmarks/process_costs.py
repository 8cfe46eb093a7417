"""Measures what requests cost: CPU time of the service, of HAProxy and of a bulk job, and bytes.

The CPU time of a request is ``request_us + fixed_us / n``, where n is how many requests an iteration of the event loop
answers. Both are fitted to the cost with 1 to 64 connections. The pictures are MNIST's test digits. What the careful
network adds is the difference between pictures that it reads and those that it does not.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from app.cli.bench import select_loop_factory
from app.cli.bench_report import summarize
from app.cli.load_generator import Load, plan_starts
from app.cli.local_reader import LocalReader
from app.imaging.encode import to_png
from app.inference import model_folder
from app.inference.cascade import CascadeEngine, is_below
from app.inference.engine_selection import open_engine
from app.settings import Settings, released_model
from benchmarks.load import binary_tensor_post, multipart_post
from benchmarks.queue_model import Cost
from benchmarks.server_process import Process
from benchmarks.servers import load_digits
from tests.support.ports import free_port
from tests.support.proxies import run_proxy
from tests.support.running import METRICS_DELAY_S

CONNECTIONS = (1, 4, 16, 64)
PICTURES = 2_000  # different ones
BATCH_DIGITS = 1_000  # of a /v2 request
WAKE_SHARE = 0.1  # of the capacity: nearly every request finds the process idle


@dataclass(frozen=True)
class PredictCosts:
    """What /predict costs a process, in CPU time of one core."""

    fixed_us: float  # of an iteration of the event loop
    request_us: float  # of each request in it, on average
    doubtful: float  # share of the pictures that the careful network reads
    careful_us: float  # of reading one of them, which is a part of the average
    wake_us: float  # from a request to the start of an idle process, wall-clock time

    @property
    def cost(self) -> Cost:
        """The cost for the simulation."""
        turn_us = self.request_us - self.doubtful * self.careful_us
        return Cost(
            self.fixed_us / 1e6,
            turn_us / 1e6,
            doubtful=self.doubtful,
            careful_s=self.careful_us / 1e6,
            wake_s=self.wake_us / 1e6,
        )


@dataclass(frozen=True)
class Costs(PredictCosts):
    """What a process, a balancer and a bulk job need. Times are CPU time of one core; bytes are those of HTTP."""

    measured: str  # when
    request_bytes: float
    answer_bytes: float
    batch_us: float  # of a /v2 request with BATCH_DIGITS
    batch_request_bytes: float
    batch_answer_bytes: float
    balancer_us: float  # of HAProxy, for a /predict
    batch_balancer_us: float  # for a /v2 request
    picture_bytes: float  # of a 28x28 PNG file
    bulk_us: float  # of a picture in `digitserve bulk`, without Ray's own work
    start_s: float  # from the start of a process to its first answer, wall-clock time
    memory_mb: float


class Point(NamedTuple):
    """What /predict costs with a number of connections."""

    connections: int
    mean_batch: float  # requests that an iteration answers
    cost_us: float  # CPU time of a request
    result: dict[str, Any]  # of the load


def send(
    port: int, requests: Sequence[bytes], connections: int, seconds: float, rate: float | None = None
) -> dict[str, Any]:
    """Send requests, at a rate or as fast as they are answered. Return the results as ``bench --json`` prints them."""
    starts = plan_starts(rate, seconds, even=False) if rate else None
    with asyncio.Runner(loop_factory=select_loop_factory()) as runner:
        tally = runner.run(Load(("127.0.0.1", port), requests, connections, seconds, starts).run())
    return summarize(tally, open_loop=rate is not None)


def make_predictions(port: int) -> list[bytes]:
    """Make /predict requests with 28x28 PNG files."""
    return [multipart_post("/predict", "file", [file]).encode(port) for file in make_pictures(PICTURES)]


def make_batch(port: int) -> list[bytes]:
    """Make a /v2 request."""
    return [binary_tensor_post("/v2/models/digitnet/infer", load_digits()[:BATCH_DIGITS]).encode(port)]


def make_pictures(count: int) -> list[bytes]:
    """Encode digits as PNG files."""
    return [to_png(image) for image in load_digits()[:count]]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process until now."""
    return Process.parse(Path(f"/proc/{pid}/stat").read_text()).cpu_seconds


def count_batches(port: int) -> tuple[float, float]:
    """Return how many batches the service has read, and how many pictures they had."""
    time.sleep(METRICS_DELAY_S)
    families = text_string_to_metric_families(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
    samples = {sample.name: sample.value for family in families for sample in family.samples}
    return samples["digits_batch_size_count"], samples["digits_batch_size_sum"]


def measure_cpu(
    pid: int, port: int, requests: Sequence[bytes], connections: int, seconds: float
) -> tuple[float, dict[str, Any]]:
    """Send as fast as requests are answered. Return a process's CPU time per request in microseconds, and the results.

    Args:
        pid: The process, which is the service or the balancer.
    """
    before = cpu_seconds(pid)
    result = send(port, requests, connections, seconds)
    return (cpu_seconds(pid) - before) / result["answered"] * 1e6, result


def measure_predictions(port: int, pid: int, requests: Sequence[bytes], seconds: float) -> list[Point]:
    """Measure /predict with each of ``CONNECTIONS``."""
    send(port, requests, 16, 1)  # warms up
    points = []
    for connections in CONNECTIONS:
        batches, pictures = count_batches(port)
        cost_us, result = measure_cpu(pid, port, requests, connections, seconds)
        after = count_batches(port)
        points.append(Point(connections, (after[1] - pictures) / (after[0] - batches), cost_us, result))
    return points


def measure_careful(port: int, pid: int, requests: Sequence[bytes], seconds: float) -> tuple[float, float]:
    """Return the share of pictures that the careful network reads, and the CPU time it adds, in microseconds.

    Args:
        requests: Those of ``make_predictions``.
    """
    engine = open_engine(model_folder.load(released_model()), "onnxruntime", "cpu")
    assert isinstance(engine, CascadeEngine)
    doubtful = is_below(engine.fast(load_digits()[:PICTURES]), engine.gate)
    sure_us, doubtful_us = (
        measure_cpu(pid, port, list(compress(requests, kind)), 1, seconds)[0] for kind in (~doubtful, doubtful)
    )
    return float(doubtful.mean()), doubtful_us - sure_us


def measure_predict_costs(port: int, pid: int, seconds: float) -> tuple[PredictCosts, list[Point]]:
    """Measure what /predict costs. Return also the points that its costs were fitted to."""
    requests = make_predictions(port)
    points = measure_predictions(port, pid, requests, seconds)
    fixed_us, request_us = fit_costs(points)
    doubtful, careful_us = measure_careful(port, pid, requests, seconds)
    rate = WAKE_SHARE * 1e6 / request_us
    waited_us = send(port, requests, 16, seconds, rate)["latency_ms"]["p50"] * 1e3
    wake_us = max(waited_us - fixed_us - request_us, 0.0)
    return PredictCosts(fixed_us, request_us, doubtful, careful_us, wake_us), points


def fit_costs(points: Sequence[Point]) -> tuple[float, float]:
    """Return ``fixed_us`` and ``request_us`` that fit the points best."""
    fixed_us, request_us = np.polyfit([1 / it.mean_batch for it in points], [it.cost_us for it in points], 1)
    return float(fixed_us), float(request_us)


@contextmanager
def run_balancer(ports: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Run HAProxy in front of services. Yield its port and process id."""
    port = free_port()
    servers = "\n".join(f"  server s{number} 127.0.0.1:{number} check inter 500ms" for number in ports)
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "haproxy.cfg"
        config.write_text(
            f"""global
  nbthread 1
defaults
  mode http
  timeout connect 1s
  timeout client 30s
  timeout server 30s
  http-reuse always
frontend in
  bind 127.0.0.1:{port}
  default_backend digits
backend digits
  balance leastconn
  option httpchk GET /readyz
{servers}
"""
        )
        with run_proxy("haproxy", ["-db", "-f", str(config)], f"http://127.0.0.1:{port}/readyz", Path(name)) as process:
            yield port, process.pid


def measure_bulk() -> float:
    """Return the CPU time in which ``digitserve bulk`` reads a picture, in microseconds, without Ray's own work."""
    from app.cli.ray_job import BATCH  # Ray takes seconds to import

    reader = LocalReader(Settings(_env_file=None, threads=1))
    files = make_pictures(PICTURES)
    reader.read(files[:BATCH])  # warms up
    started = time.process_time()
    for start in range(0, PICTURES, BATCH):
        reader.read(files[start : start + BATCH])
    return (time.process_time() - started) / PICTURES * 1e6
