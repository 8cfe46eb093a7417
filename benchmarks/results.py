"""The results of a comparison: every figure of every run, and medians for each server. Stored as JSON."""

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """A server under one load."""

    connections: int
    per_second: float  # requests answered and not refused
    p50_ms: float
    p99_ms: float
    cpu_us: float  # per request, of all processes of the server
    refused: int  # answered with a status of 400 or more
    broken: int  # not answered
    load_busy: float  # share of its core that the load generator used

    def __str__(self) -> str:
        faults = f", {self.refused} refused, {self.broken} not answered" if self.refused or self.broken else ""
        return (
            f"{self.connections:>3} connections: {self.per_second:>8,.0f}/s, p50 {self.p50_ms:.2f} ms, "
            f"p99 {self.p99_ms:.2f} ms, {self.cpu_us:,.0f} µs of CPU per request{faults}"
        )


@dataclass
class Run:
    """A server from its start to its end."""

    server: str
    start_seconds: float
    resident_mb: float = 0.0  # after the load; 0 if the run was cut short
    figures: list[Figure] = field(default_factory=list)


@dataclass
class Results:
    """A comparison. It may be incomplete."""

    about: dict[str, str]  # the machine, the date, and how it was measured
    rounds: int
    versions: dict[str, str] = field(default_factory=dict)  # by package
    installed_mb: dict[str, float] = field(default_factory=dict)  # by server; "torch" is shared by several
    runs: list[Run] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # by server

    def median_figure(self, server: str, connections: int, value: Callable[[Figure], float]) -> float | None:
        """Return the median over the runs, or None if there are no figures."""
        values = [value(figure) for figure in self.figures(server, connections)]
        return statistics.median(values) if values else None

    def figures(self, server: str, connections: int) -> list[Figure]:
        """Return the figure of each round."""
        figures = (figure for run in self.runs if run.server == server for figure in run.figures)
        return [figure for figure in figures if figure.connections == connections]

    def spread(self, server: str, connections: int) -> float:
        """Return how far its slowest round is from its fastest, as a share of the median; 0 with fewer than two."""
        rates = [figure.per_second for figure in self.figures(server, connections)]
        return (max(rates) - min(rates)) / statistics.median(rates) if len(rates) > 1 else 0.0

    def median_run(self, server: str, value: Callable[[Run], float]) -> float | None:
        """Return the median of a value that each run has once. Ignores runs that were cut short."""
        values = [value(run) for run in self.runs if run.server == server and run.resident_mb]
        return statistics.median(values) if values else None

    def save(self, path: Path) -> None:
        """Write the results to a file."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read the results from a file."""
        stored = json.loads(path.read_text())
        runs = [
            Run(**{**run, "figures": [Figure(**figure) for figure in run["figures"]]}) for run in stored.pop("runs")
        ]
        return cls(**stored, runs=runs)
