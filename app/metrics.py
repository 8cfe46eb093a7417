"""The Prometheus instruments, and their text.

With several workers each writes to files of its own (``PROMETHEUS_MULTIPROC_DIR``), and the one that is asked adds them
up. Labels are bounded: an address that is none of ours is counted as ``other``.
"""

import os
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

from app.bundle import Reference
from app.errors import StartupError
from app.signals import BOUNDS, Signals, counted

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
    """The histogram of a signal. It takes many values at once, for one at a time would hold up the event loop."""

    def __init__(self, signal: str, help_text: str, registry: CollectorRegistry) -> None:
        super().__init__(f"digits_{signal}", help_text, buckets=BOUNDS[signal], registry=registry)
        self._edges = np.array(BOUNDS[signal])

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """Count values ``(N,)``."""
        self._sum.inc(float(values.sum()))
        for bucket, count in zip(self._buckets, counted(values, self._edges), strict=True):
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
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "From the request's headers to the end of its answer.",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "http_requests_in_flight",
            "Requests being answered.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._batch_size = Histogram(
            "digits_batch_size", "Pictures that the network read at once.", buckets=SIZES, registry=self.registry
        )
        self.queue_seconds = Histogram(
            "digits_queue_duration_seconds",
            "Time that a picture waited for the network.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._inference_seconds = Histogram(
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
        self._confidence = Distribution("confidence", "Probability of the digit that was read.", self.registry)
        self._typicality = Distribution("typicality", "How surely a picture is of a digit at all.", self.registry)
        self._ink_ratio = Distribution(
            "ink_ratio", "Brightness of the picture that a network read, as a share of a white one's.", self.registry
        )
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
        # labels() takes a lock and builds a key for each call; what has been asked for once is kept.
        self._of_request: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._of_prediction = {
            (digit, accepted): self._predictions.labels("none" if digit is None else str(digit), str(accepted).lower())
            for digit in (*range(10), None)
            for accepted in (True, False)
            if digit is not None or not accepted
        }
        self._of_rejection = {reason: self._rejected.labels(reason) for reason in REASONS}
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

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        key = (method, path, status)
        if key not in self._of_request:
            self._of_request[key] = self._requests.labels(method, path, str(status)), self._seconds.labels(path)
        requests, durations = self._of_request[key]
        requests.inc()
        durations.observe(seconds)

    def predicted(self, digit: int | None, accepted: bool, count: int = 1) -> None:
        """Count digits that were read; None is blank paper."""
        self._of_prediction[digit, accepted].inc(count)

    def saw(self, confidence: float, typicality: float, ink_ratio: float) -> None:
        """Count a picture that the network read."""
        self._confidence.observe(confidence)
        self._typicality.observe(typicality)
        self._ink_ratio.observe(ink_ratio)

    def saw_all(self, signals: Signals) -> None:
        """Count several."""
        self._confidence.observe_all(signals.confidence)
        self._typicality.observe_all(signals.typicality)
        self._ink_ratio.observe_all(signals.ink_ratio)

    def rejected(self, reason: str) -> None:
        """Count a refusal; the reasons are the code's own words."""
        if reason not in self._of_rejection:
            self._of_rejection[reason] = self._rejected.labels(reason)
        self._of_rejection[reason].inc()

    def serves(self, name: str, version: str, sha256: str, reference: Reference | None) -> None:
        """Note the model that serves from now on."""
        self._reference.reference = reference
        if self._serving:
            self._serving.set(0)
        self._serving = self._model.labels(name, version, sha256)
        self._serving.set(1)

    def reloaded(self, outcome: str) -> None:
        """Count a look for a new model."""
        self._reloads.labels(outcome).inc()

    def ran(self, size: int, seconds: float) -> None:
        """Count a batch."""
        self._batch_size.observe(size)
        self._inference_seconds.observe(seconds)

    def text(self) -> bytes:
        """Everything, in Prometheus's text format, of all workers."""
        together = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            together = CollectorRegistry()
            MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # the library has no types here
        return generate_latest(together) + generate_latest(self._reference)
