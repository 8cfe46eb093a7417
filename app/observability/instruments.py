"""Prometheus instruments that prometheus-client does not have."""

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from prometheus_client.values import ValueClass

from app.inference.model_folder import Reference
from app.observability.input_statistics import BOUNDS, count_in_buckets


class BatchHistogram(Collector):
    """A histogram that counts many values at once, which the histogram of prometheus-client cannot.

    With several workers, it is read from the files that the values are written to. Otherwise it collects itself.
    """

    def __init__(
        self,
        name: str,
        help_text: str,
        label: str | None = None,
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._help = name, help_text
        self._label_names = (label,) if label else ()
        self._edges = np.array(buckets)
        self._bounds = [*map(floatToGoString, (*buckets, math.inf))]
        self._series: dict[tuple[str, ...], tuple[Any, list[Any]]] = {}  # the sum and the buckets, by label
        if not label:
            self.observe_all(np.empty(0))  # a series without a label exists from the start
        registry.register(self)

    def observe_all(self, values: NDArray[np.float64], *labels: str) -> None:
        """Count the values ``(N,)``."""
        if labels not in self._series:
            self._series[labels] = (
                self._make_value("_sum", labels),
                [self._make_value("_bucket", labels, bound) for bound in self._bounds],
            )
        total, buckets = self._series[labels]
        total.inc(float(values.sum()))
        for bucket, count in zip(buckets, count_in_buckets(values, self._edges), strict=True):
            if count:
                bucket.inc(count)

    def _make_value(self, suffix: str, labels: tuple[str, ...], *bound: str) -> Any:
        names = (*self._label_names, "le") if bound else self._label_names
        return ValueClass("histogram", self._name, self._name + suffix, names, (*labels, *bound), self._help)

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self._name, self._help, labels=self._label_names)
        for labels, (total, buckets) in self._series.items():
            counts = accumulate(bucket.get() for bucket in buckets)
            family.add_metric(labels, list(zip(self._bounds, counts, strict=True)), total.get())
        yield family


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
