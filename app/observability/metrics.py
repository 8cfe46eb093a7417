"""The Prometheus metrics of the service, and their text.

With several workers, each one writes its values to its own files (``PROMETHEUS_MULTIPROC_DIR``), and the worker that is
scraped adds them up. The values of labels are bounded: every unknown path is counted as ``other``.

A request only appends to plain lists. ``flush`` updates the instruments, twice a second and before each scrape. To
update the ten instruments value by value would take a twentieth of the time of an answer.
"""

import os
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from app.errors import StartupError
from app.inference.model_folder import Reference
from app.observability.input_statistics import BOUNDS, InputStatistics
from app.observability.instruments import BatchHistogram, ReferenceCollector
from app.observability.line_writer import LineWriter

DURATION_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
# Of each file of one worker, by the kind of its instruments: more than all labels together can need.
FILE_BYTES = {
    "counter": 1 << 20,
    "histogram": 1 << 20,
    "gauge_livesum": 1 << 16,
    "gauge_livemax": 1 << 16,
    "gauge_livemin": 1 << 16,
}
# Why a request or a connection is refused. Each reason exists from the start, because Prometheus sees no increase in a
# series that appears with its first value.
REASONS = (
    *("overloaded", "deadline", "not-ready", "engine-failed", "unauthorized", "too-slow"),  # requests
    *("connections", "head", "slow", "malformed"),  # connections on which no request was complete
)
RELOAD_OUTCOMES = ("taken", "unchanged", "failed")


# Refusals take no time. With them, the service would seem to get faster the more it has to refuse.
REFUSED = frozenset({401, 408, 503})


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        reserve_disk_space()
        # They would be a second series for each counter and histogram, of no use to Prometheus.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types here
        self.registry = CollectorRegistry()
        self._reference = ReferenceCollector()
        self.registry.register(self._reference)
        self._requests = Counter(
            "http_requests", "Answered requests.", ["method", "path", "status"], registry=self.registry
        )
        self._seconds = BatchHistogram(
            "http_request_duration_seconds",
            "Time from the headers of a request to the end of its answer.",
            "path",
            buckets=DURATION_BUCKETS_S,
            registry=self.registry,
        )
        self.in_flight = 0
        self._in_flight = Gauge(
            "http_requests_in_flight",
            "Requests that are being answered.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._batch_size = BatchHistogram(
            "digits_batch_size",
            "Pictures that the network read in one run.",
            buckets=BATCH_SIZE_BUCKETS,
            registry=self.registry,
        )
        self._queue_seconds = BatchHistogram(
            "digits_queue_duration_seconds",
            "Time that a picture waited for the network.",
            buckets=DURATION_BUCKETS_S,
            registry=self.registry,
        )
        self._inference_seconds = BatchHistogram(
            "digits_inference_duration_seconds",
            "Time that the network took for a batch.",
            buckets=DURATION_BUCKETS_S,
            registry=self.registry,
        )
        self.queue_size = Gauge(
            "digits_queue_size",
            "Pictures that are waiting for a network.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self.ready = Gauge(
            "digits_ready",
            "1 while the engine of every worker works, otherwise 0.",
            registry=self.registry,
            multiprocess_mode="livemin",
        )
        self._signals = {
            signal: BatchHistogram(f"digits_{signal}", help_text, buckets=BOUNDS[signal], registry=self.registry)
            for signal, help_text in (
                ("confidence", "Probability of the digit that was read."),
                ("typicality", "How surely a picture shows a digit at all."),
                ("ink_ratio", "Brightness of a picture that a network read, as a share of a white picture's."),
            )
        }
        self._predictions = Counter("digits_predictions", "Digits read.", ["digit", "accepted"], registry=self.registry)
        self._rejected = Counter(
            "digits_requests_rejected",
            "Requests and connections that were refused to protect the service, not because of their content.",
            ["reason"],
            registry=self.registry,
        )
        self._model = Gauge(
            "digits_model_info",
            "1 for the current model.",
            ["name", "version", "sha256"],
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self._current_model: Gauge | None = None
        self._reloads = Counter("digits_model_reloads", "Checks for a new model.", ["outcome"], registry=self.registry)
        self._lost_log_lines = Counter(
            "digits_log_lines_dropped", "Lines that nobody read in time from the log.", registry=self.registry
        )
        self._lost_before = 0
        # What has happened since the last flush.
        self._new_requests: defaultdict[tuple[str, str, int], list[float]] = defaultdict(list)  # the seconds of each
        self._new_predictions: Tally[tuple[int | None, bool]] = Tally()
        self._new_rejections: Tally[str] = Tally()
        self._new_inputs: list[tuple[float, float, float]] = []  # confidence, typicality, ink ratio
        self._new_input_batches: list[InputStatistics] = []
        self._new_queue_seconds: list[float] = []
        self._new_batches: list[tuple[int, float]] = []  # size, seconds
        # Counters with their labels: labels() takes a lock and builds a key on each call.
        self._prediction_counters = {
            (digit, accepted): self._predictions.labels("none" if digit is None else str(digit), str(accepted).lower())
            for digit in (*range(10), None)
            for accepted in (True, False)
            if digit is not None or not accepted
        }
        for reason in REASONS:
            self._rejected.labels(reason)
        for outcome in RELOAD_OUTCOMES:
            self._reloads.labels(outcome)

    def forget_dead_workers(self) -> None:
        """Remove the live gauges of workers that were killed, so that their requests no longer count as in flight."""
        for file in Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "/nowhere")).glob("gauge_live*_*.db"):
            pid = int(file.stem.rpartition("_")[2])
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                mark_process_dead(pid)  # type: ignore[no-untyped-call]  # the library has no types here

    def count_request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count an answered request and how long it took. Method and path must be bounded."""
        self._new_requests[method, path, status].append(seconds)

    def count_prediction(self, digit: int | None, accepted: bool, count: int = 1) -> None:
        """Count digits that were read. None stands for a blank picture."""
        self._new_predictions[digit, accepted] += count

    def observe_input(self, confidence: float, typicality: float, ink_ratio: float) -> None:
        """Record the statistics of a picture that the network read."""
        self._new_inputs.append((confidence, typicality, ink_ratio))

    def observe_inputs(self, statistics: InputStatistics) -> None:
        """Record the statistics of several pictures."""
        self._new_input_batches.append(statistics)

    def observe_queue(self, seconds: float) -> None:
        """Record how long a picture waited for the network."""
        self._new_queue_seconds.append(seconds)

    def observe_batch(self, size: int, seconds: float) -> None:
        """Record the size of a batch and how long it took."""
        self._new_batches.append((size, seconds))

    def count_rejection(self, reason: str) -> None:
        """Count a refused request or connection. The reason is one of ``REASONS``."""
        self._new_rejections[reason] += 1

    def set_model(self, name: str, version: str, sha256: str, reference: Reference | None) -> None:
        """Set the model that serves from now on."""
        self._reference.reference = reference
        if self._current_model:
            self._current_model.set(0)
        self._current_model = self._model.labels(name, version, sha256)
        self._current_model.set(1)

    def count_reload(self, outcome: str) -> None:
        """Count a check for a new model. The outcome is one of ``RELOAD_OUTCOMES``."""
        self._reloads.labels(outcome).inc()

    def flush(self) -> None:
        """Update the instruments. Call it only in the event loop, where all the values are recorded."""
        self._in_flight.set(self.in_flight)
        for (method, path, status), seconds in self._new_requests.items():
            self._requests.labels(method, path, str(status)).inc(len(seconds))
            if status not in REFUSED:
                self._seconds.observe_all(np.array(seconds), path)
        for prediction, count in self._new_predictions.items():
            self._prediction_counters[prediction].inc(count)
        for reason, count in self._new_rejections.items():
            self._rejected.labels(reason).inc(count)
        if self._new_inputs:
            self._new_input_batches.append(InputStatistics(*np.array(self._new_inputs).T))
        if self._new_input_batches:
            columns = zip(*self._new_input_batches, strict=True)
            for instrument, values in zip(self._signals.values(), columns, strict=True):
                instrument.observe_all(np.concatenate(values))
        if self._new_queue_seconds:
            self._queue_seconds.observe_all(np.array(self._new_queue_seconds))
        if self._new_batches:
            sizes, batch_seconds = np.array(self._new_batches).T
            self._batch_size.observe_all(sizes)
            self._inference_seconds.observe_all(batch_seconds)
        self._lost_log_lines.inc(LineWriter.dropped - self._lost_before)
        self._lost_before = LineWriter.dropped
        for by_labels in (self._new_requests, self._new_predictions, self._new_rejections):
            by_labels.clear()
        for new in (self._new_inputs, self._new_input_batches, self._new_queue_seconds, self._new_batches):
            new.clear()

    def render(self, encode: Callable[[Collector], bytes] = generate_latest) -> bytes:
        """Return the metrics of all workers, in Prometheus's text format by default. Other workers' may be half a
        second old."""
        self.flush()
        registry = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library has no types here
            registry.register(self._reference)
        return encode(registry)


def choose_format(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """Return what writes the metrics in the format that a client accepts, and the content type of that.

    Args:
        accept: The client's ``Accept``. The formats are OpenMetrics and two versions of Prometheus's text.
    """
    try:
        return choose_encoder(accept)
    except TypeError:  # a version in it is no number
        return choose_encoder("")


def reserve_disk_space() -> None:
    """Write this worker's files at full size, before anything is counted.

    prometheus-client maps these files into memory. If the disk were full later, the system would kill the worker with
    SIGBUS, then the next worker, and so on.

    Raises:
        StartupError: The disk is full already.
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    for kind, size in FILE_BYTES.items():
        try:
            (Path(folder) / f"{kind}_{os.getpid()}.db").write_bytes(bytes(size))
        except OSError as error:
            raise StartupError(f"{folder}: cannot write the files for a worker's metrics: {error.strerror}") from None
