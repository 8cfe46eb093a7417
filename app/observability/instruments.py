"""Prometheus instruments that prometheus-client does not have."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from app.inference.model_folder import Reference
from app.observability.input_statistics import BOUNDS, count_in_buckets


class BatchHistogram(Histogram):
    """A histogram that counts many values at once. It uses private parts of prometheus-client's histogram."""

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """Count the values ``(N,)``."""
        self._sum.inc(float(values.sum()))
        edges = np.array(self._upper_bounds[:-1])  # the last one is infinity
        for bucket, count in zip(self._buckets, count_in_buckets(values, edges), strict=True):
            if count:
                bucket.inc(count)


class ReferenceCollector(Collector):
    """Shows what the current model made of its held-out digits, for comparison with what the service receives.

    It is not a gauge, because it is the same in every worker. The label ``above`` is the bucket's lower bound. Each
    bucket of a live histogram also contains everything below it, so a rule needs both bounds to compute what is in one
    bucket alone.
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
            if buckets.bounds != BOUNDS.get(name):  # counted by another version: cannot be compared
                continue
            edges = ["-Inf", *map(floatToGoString, buckets.bounds), "+Inf"]
            for above, bucket, count in zip(edges, edges[1:], buckets.counts, strict=False):
                family.add_metric([name, above, bucket], count / self.reference.digits)
        for digit, count in enumerate(self.reference.read):
            family.add_metric(["digit", "", str(digit)], count / self.reference.digits)
        yield family
