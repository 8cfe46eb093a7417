"""The Prometheus instruments, and their text.

With several workers each writes to files of its own (``PROMETHEUS_MULTIPROC_DIR``), and the one that is asked adds them
up. Labels are bounded: an address that is none of ours is counted as ``other``.
"""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from app.errors import StartupError

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SIZES = (1, 2, 4, 8, 16, 32, 64)
# Bytes of the files of one worker, by the kind of what is in them: more than all labels together can take.
ROOM = {"counter": 1 << 20, "histogram": 1 << 20, "gauge_livesum": 1 << 16, "gauge_livemax": 1 << 16}


def reserve_room() -> None:
    """Take the room on the disk that this worker's counts will need, before anything is counted.

    Prometheus's client writes them through memory: were there no room later, the system would kill the worker with
    SIGBUS, and the next one, and so on.

    Raises:
        StartupError: there is none now.
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None or not hasattr(os, "posix_fallocate"):
        return
    for kind, size in ROOM.items():
        try:
            with (Path(folder) / f"{kind}_{os.getpid()}.db").open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise StartupError(f"{folder}: no room for what a worker counts: {error.strerror}") from None


class Metrics:
    """What is counted of one process."""

    def __init__(self) -> None:
        reserve_room()
        self.registry = CollectorRegistry()
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
        self._of_rejection: dict[str, Counter] = {}
        self._of_prediction: dict[tuple[int | None, bool], Counter] = {}

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
        key = (digit, accepted)
        if key not in self._of_prediction:
            label = "none" if digit is None else str(digit)
            self._of_prediction[key] = self._predictions.labels(label, str(accepted).lower())
        self._of_prediction[key].inc(count)

    def rejected(self, reason: str) -> None:
        """Count a refusal; the reasons are the code's own words."""
        if reason not in self._of_rejection:
            self._of_rejection[reason] = self._rejected.labels(reason)
        self._of_rejection[reason].inc()

    def serves(self, name: str, version: str, sha256: str) -> None:
        """Note the model that serves from now on."""
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
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # the library has no types here
        return generate_latest(together)
