"""The Prometheus instruments, and their text.

With several workers each writes to files of its own (``PROMETHEUS_MULTIPROC_DIR``), and the one that is asked adds them
up. Labels are bounded: an address that is none of ours is counted as ``other``.

What each request adds to is gathered in plain lists, and counted when somebody asks, or twice a second (``flush``):
the ten instruments, one value at a time, would take a twentieth of what an answer costs.
"""

import os
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from app.errors import StartupError
from app.inference.model_folder import Reference
from app.observability.input_statistics import BOUNDS, InputStatistics, count_in_buckets

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SIZES = (1, 2, 4, 8, 16, 32, 64)
# Bytes of the files of one worker, by the kind of what is in them: more than all labels together can take.
ROOM = {
    "counter": 1 << 20,
    "histogram": 1 << 20,
    "gauge_livesum": 1 << 16,
    "gauge_livemax": 1 << 16,
    "gauge_livemin": 1 << 16,
}


def reserve_room() -> None:
    """Take the room on the disk that this worker's counts will need, before anything is counted.

    Prometheus's client writes them through memory: were there no room later, the system would kill the worker with
    SIGBUS, and the next one, and so on.

    Raises:
        StartupError: there is none now.
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    for kind, size in ROOM.items():
        try:
            (Path(folder) / f"{kind}_{os.getpid()}.db").write_bytes(bytes(size))
        except OSError as error:
            raise StartupError(f"{folder}: no room for what a worker counts: {error.strerror}") from None


# Why a request or a connection is refused. Each is there from the start: to Prometheus, what it sees for the first time
# has not grown.
REASONS = (
    *("overloaded", "deadline", "not-ready", "engine-failed", "unauthorized", "too-slow"),  # of requests
    *("connections", "head", "slow", "malformed"),  # of what never became one
)


class Distribution(Histogram):
    """A histogram that takes many values at once."""

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """Count values ``(N,)``."""
        self._sum.inc(float(values.sum()))
        edges = np.array(self._upper_bounds[:-1])  # the last is infinity
        for bucket, count in zip(self._buckets, count_in_buckets(values, edges), strict=True):
            if count:
                bucket.inc(count)


class ReferenceCollector(Collector):
    """What the model that serves made of its held-out digits, for comparison with what comes in.

    Not an instrument, for it is the same in every worker. ``above`` is the bucket's lower bound: each bucket of a live
    histogram has all that is below it, too, and a rule needs both bounds to tell what is in this one alone.
    """

    def __init__(self) -> None:
        self.reference: Reference | None = None

    def collect(self) -> Iterable[Metric]:
        if self.reference is None:
            return
        family = GaugeMetricFamily(
            "digits_reference_ratio",
            "Share of the model's held-out digits in each bucket of a signal.",
            labels=["signal", "above", "bucket"],
        )
        for name, buckets in self.reference.signals.items():
            if buckets.bounds != BOUNDS.get(name):  # counted by another version, and not to be compared
                continue
            edges = ["-Inf", *map(floatToGoString, buckets.bounds), "+Inf"]
            for above, bucket, count in zip(edges, edges[1:], buckets.counts, strict=False):
                family.add_metric([name, above, bucket], count / self.reference.digits)
        for digit, count in enumerate(self.reference.read):
            family.add_metric(["digit", "", str(digit)], count / self.reference.digits)
        yield family


class Metrics:
    """What is counted of one process."""

    def __init__(self) -> None:
        reserve_room()
        # They are a second series for each, and of no use to Prometheus.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types here
        self.registry = CollectorRegistry()
        self._reference = ReferenceCollector()
        self._requests = Counter(
            "http_requests", "Requests answered.", ["method", "path", "status"], registry=self.registry
        )
        self._seconds = Distribution(
            "http_request_duration_seconds",
            "From the request's headers to the end of its answer.",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_flight = 0
        self._in_flight = Gauge(
            "http_requests_in_flight",
            "Requests being answered.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._batch_size = Distribution(
            "digits_batch_size", "Pictures that the network read at once.", buckets=SIZES, registry=self.registry
        )
        self._queue_seconds = Distribution(
            "digits_queue_duration_seconds",
            "Time that a picture waited for the network.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._inference_seconds = Distribution(
            "digits_inference_duration_seconds",
            "Time that a batch took.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.queue_size = Gauge(
            "digits_queue_size",
            "Pictures that wait for a network.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.ready = Gauge(
            "digits_ready",
            "1 while the engine of every worker works, 0 while one does not.",
            registry=self.registry,
            multiprocess_mode="livemin",
        )
        self._signals = {
            signal: Distribution(f"digits_{signal}", meaning, buckets=BOUNDS[signal], registry=self.registry)
            for signal, meaning in (
                ("confidence", "Probability of the digit that was read."),
                ("typicality", "How surely a picture is of a digit at all."),
                ("ink_ratio", "Brightness of the picture that a network read, as a share of a white one's."),
            )
        }
        self._predictions = Counter("digits_predictions", "Digits read.", ["digit", "accepted"], registry=self.registry)
        self._rejected = Counter(
            "digits_requests_rejected",
            "Requests and connections that were refused for what the service can bear, and not for what they are.",
            ["reason"],
            registry=self.registry,
        )
        self._model = Gauge(
            "digits_model_info",
            "The model that serves has 1.",
            ["name", "version", "sha256"],
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self._serving: Gauge | None = None
        self._reloads = Counter("digits_model_reloads", "Looks for a new model.", ["outcome"], registry=self.registry)
        # What was not counted yet.
        self._answered: defaultdict[tuple[str, str, int], list[float]] = defaultdict(list)  # how long each took
        self._predicted: Tally[tuple[int | None, bool]] = Tally()
        self._refused: Tally[str] = Tally()
        self._seen: list[tuple[float, float, float]] = []  # signals
        self._seen_together: list[InputStatistics] = []
        self._queued: list[float] = []  # seconds
        self._ran: list[tuple[int, float]] = []  # batches
        # labels() takes a lock and builds a key for each call; what has been asked for once is kept.
        self._of_prediction = {
            (digit, accepted): self._predictions.labels("none" if digit is None else str(digit), str(accepted).lower())
            for digit in (*range(10), None)
            for accepted in (True, False)
            if digit is not None or not accepted
        }
        for reason in REASONS:
            self._rejected.labels(reason)
        for outcome in ("taken", "unchanged", "failed"):
            self._reloads.labels(outcome)

    def forget_dead_workers(self) -> None:
        """Count no request as in flight that a worker had when it was killed."""
        for file in Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "/nowhere")).glob("gauge_live*_*.db"):
            pid = int(file.stem.rpartition("_")[2])
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                mark_process_dead(pid)  # type: ignore[no-untyped-call]  # the library has no types here

    def count_request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._answered[method, path, status].append(seconds)

    def count_prediction(self, digit: int | None, accepted: bool, count: int = 1) -> None:
        """Count digits that were read; None is blank paper."""
        self._predicted[digit, accepted] += count

    def observe_input(self, confidence: float, typicality: float, ink_ratio: float) -> None:
        """Count a picture that the network read."""
        self._seen.append((confidence, typicality, ink_ratio))

    def observe_inputs(self, signals: InputStatistics) -> None:
        """Count several."""
        self._seen_together.append(signals)

    def observe_queue(self, seconds: float) -> None:
        """Count a picture that waited for the network."""
        self._queued.append(seconds)

    def observe_batch(self, size: int, seconds: float) -> None:
        """Count a batch."""
        self._ran.append((size, seconds))

    def count_rejection(self, reason: str) -> None:
        """Count a refusal; the reasons are the code's own words."""
        self._refused[reason] += 1

    def set_model(self, name: str, version: str, sha256: str, reference: Reference | None) -> None:
        """Note the model that serves from now on."""
        self._reference.reference = reference
        if self._serving:
            self._serving.set(0)
        self._serving = self._model.labels(name, version, sha256)
        self._serving.set(1)

    def count_reload(self, outcome: str) -> None:
        """Count a look for a new model."""
        self._reloads.labels(outcome).inc()

    def flush(self) -> None:
        """Count what has gathered. For the event loop alone, where it is gathered."""
        self._in_flight.set(self.in_flight)
        for (method, path, status), seconds in self._answered.items():
            self._requests.labels(method, path, str(status)).inc(len(seconds))
            self._seconds.labels(path).observe_all(np.array(seconds))
        for read, count in self._predicted.items():
            self._of_prediction[read].inc(count)
        for reason, count in self._refused.items():
            self._rejected.labels(reason).inc(count)
        if self._seen:
            self._seen_together.append(InputStatistics(*np.array(self._seen).T))
        if self._seen_together:
            for instrument, values in zip(self._signals.values(), zip(*self._seen_together, strict=True), strict=True):
                instrument.observe_all(np.concatenate(values))
        if self._queued:
            self._queue_seconds.observe_all(np.array(self._queued))
        if self._ran:
            sizes, seconds_ran = np.array(self._ran).T
            self._batch_size.observe_all(sizes)
            self._inference_seconds.observe_all(seconds_ran)
        for gathered in (self._answered, self._predicted, self._refused):
            gathered.clear()
        for listed in (self._seen, self._seen_together, self._queued, self._ran):
            listed.clear()

    def render(self) -> bytes:
        """Everything, in Prometheus's text format, of all workers: the others may be half a second behind."""
        self.flush()
        together = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            together = CollectorRegistry()
            MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # the library has no types here
        return generate_latest(together) + generate_latest(self._reference)
