"""Write the report of a comparison: RESULTS.md and results.svg, from the results.json of a folder.

    python -m benchmarks.report [FOLDER]

Measures nothing.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Plot

from benchmarks.peers import CONTENDERS, OURS, ROOT, Contender
from benchmarks.results import Figure, Results

MAIN_CONNECTIONS = 16  # servers are compared at this many connections
CONNECTIONS = (1, 16, 64)
MAX_SPREAD = 0.15  # of the constant answer's rate, between the slowest and the fastest round; else nothing is published
MAX_LOAD_BUSY = 0.9  # if wrk used a larger share of its core, it may have been the bottleneck


@dataclass(frozen=True)
class Row:
    """A server in the tables, with medians over its runs."""

    contender: Contender
    results: Results

    @property
    def title(self) -> str:
        return f"**{self.contender.title}**" if self.contender.folder == OURS.folder else self.contender.title

    def median(self, connections: int, value: Callable[[Figure], float]) -> float | None:
        return self.results.median_figure(self.contender.name, connections, value)

    @property
    def per_second(self) -> float:
        return self.median(MAIN_CONNECTIONS, lambda figure: figure.per_second) or 0.0

    @property
    def installed(self) -> str:
        own = format_number(self.results.installed_mb.get(self.contender.name))
        return f"{own} + torch" if self.contender.torch else own


def format_number(value: float | None) -> str:
    """Format a number with three significant digits, or with all its integer digits if it has more than three."""
    if value is None:
        return "-"
    places = max(0, 3 - len(f"{int(value)}".lstrip("0")))
    return f"{value:,.{places}f}"


def select_rows(results: Results) -> list[Row]:
    """Return the servers that were measured, fastest first. Of several with one title, only the fastest."""
    best: dict[str, Row] = {}
    for contender in CONTENDERS:
        row = Row(contender, results)
        if row.per_second and (contender.title not in best or row.per_second > best[contender.title].per_second):
            best[contender.title] = row
    return sorted(best.values(), key=lambda row: -row.per_second)


def format_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table. The first column is text, the others are numbers."""
    marks = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, marks, *lines))


def summary_table(results: Results) -> str:
    """Format one line per server, at 16 connections."""
    ours = Row(OURS, results).per_second or None
    lines = [
        [
            row.title,
            format_number(row.per_second),
            format_number(ours / row.per_second) if ours else "-",
            format_number(row.median(MAIN_CONNECTIONS, lambda figure: figure.p50_ms)),
            format_number(row.median(MAIN_CONNECTIONS, lambda figure: figure.p99_ms)),
            format_number(row.median(MAIN_CONNECTIONS, lambda figure: figure.cpu_us)),
            format_number(results.median_run(row.contender.name, lambda run: run.resident_mb)),
            format_number(results.median_run(row.contender.name, lambda run: run.start_seconds)),
            row.installed,
        ]
        for row in select_rows(results)
    ]
    head = ["server", "requests/s", "digitserve ÷ it", "p50 ms", "p99 ms", "CPU µs per request"]
    return format_table([*head, "memory MB", "start s", "installed MB"], lines)


def connections_table(results: Results) -> str:
    """Format one line per server, at each number of connections."""
    values: dict[str, Callable[[Figure], float]] = {
        "requests/s": lambda figure: figure.per_second,
        "p50 ms": lambda figure: figure.p50_ms,
        "p99 ms": lambda figure: figure.p99_ms,
    }
    head = ["server", *(f"{name}, {connections}" for name in values for connections in CONNECTIONS)]
    lines = [
        [
            row.title,
            *(
                format_number(row.median(connections, value))
                for value in values.values()
                for connections in CONNECTIONS
            ),
        ]
        for row in select_rows(results)
    ]
    return format_table(head, lines)


def list_remarks(results: Results) -> list[str]:
    """List what a reader must know about single figures."""
    remarks = []
    for row in select_rows(results):
        name, title = row.contender.name, row.contender.title
        others = [other for other in CONTENDERS if other.title == title and other.name != name]
        for rate, other in ((Row(other, results).per_second, other) for other in others):
            if rate:
                ways = [
                    f"in batches of up to {it.batch}" if it.batch > 1 else "one by one" for it in (row.contender, other)
                ]
                remarks.append(f"{title} is faster {ways[0]}; {ways[1]} it reached {format_number(rate)} requests/s.")
        figures = [figure for run in results.runs if run.server == name for figure in run.figures]
        if faults := sum(figure.refused + figure.broken for figure in figures):
            remarks.append(f"{title} refused or did not answer {faults:,} requests.")
        if busiest := max((figure.load_busy for figure in figures if figure.load_busy > MAX_LOAD_BUSY), default=None):
            remarks.append(f"{title}: wrk used {busiest:.0%} of its own core, so the server may be faster than this.")
    remarks += [f"{name} could not be measured: {reason}" for name, reason in results.failures.items()]
    return remarks


def format_report(results: Results) -> str:
    """Format the report in Markdown."""
    complete = [run.server for run in results.runs if run.resident_mb]
    rounds = min((complete.count(row.contender.name) for row in select_rows(results)), default=0)
    cut = "" if rounds >= results.rounds else f", of which {rounds} {'was' if rounds == 1 else 'were'} finished"
    about = "\n".join(f"- {name}: {value}" for name, value in results.about.items())
    versions = ", ".join(f"{name} {version}" for name, version in sorted(results.versions.items()))
    torch = format_number(results.installed_mb.get("torch"))
    return f"""\
# Servers side by side

`make bench` (`python -m benchmarks.servers`) writes this file: do not edit it. The raw numbers are in
[results.json](results.json); the code of each server, and how it is started, are in [peers/](peers/).

All servers run the textbook CNN, in the way that their documentation recommends. digitserve also runs its released
model, and that is the one compared. The requests are MNIST's test digits: forms with a PNG file. MLServer gets the
pixels as a JSON tensor, which it does not have to decode. Before a server is measured, it must read the same digits as
the model by itself. The server has one core for all its processes; the load generator, wrk, has another. A connection
sends its next request when it has its answer, and the percentiles also count the requests that a slow answer kept from
being sent. Each figure is the median of {results.rounds} {"round" if results.rounds == 1 else "rounds"}{cut}.

## At {MAIN_CONNECTIONS} connections

{summary_table(results)}

Memory is measured after the load; a page that several processes share counts once. Start is the time from process start
to the first answer. Installed is what pip installs; torch, from PyPI with CUDA's libraries, adds {torch} MB. digitserve
runs with its access log and all limits on; the constant answer has no access log.

![Requests per second and 99th percentile, at {MAIN_CONNECTIONS} connections](results.svg)

## At {", ".join(map(str, CONNECTIONS))} connections

{connections_table(results)}

## Remarks

{chr(10).join(f"- {remark}" for remark in list_remarks(results)) or "None."}

## Machine and versions

{about}
- Versions: {versions}
"""


def plot(results: Results, path: Path) -> None:
    """Draw requests per second and the 99th percentile, both at 16 connections."""
    rows = select_rows(results)[::-1]
    titles = [row.contender.title for row in rows]
    colours = ["#c2410c" if row.contender.folder == OURS.folder else "#64748b" for row in rows]
    with mpl.rc_context({"svg.hashsalt": "digitserve", "font.size": 9, "svg.fonttype": "none"}):
        figure = Plot(figsize=(9, 0.8 + 0.32 * len(rows)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, name, values in (
            (left, f"requests per second, {MAIN_CONNECTIONS} connections", [row.per_second for row in rows]),
            (
                right,
                "99th percentile, ms",
                [row.median(MAIN_CONNECTIONS, lambda figure: figure.p99_ms) or 0.0 for row in rows],
            ),
        ):
            axes.scatter(values, range(len(rows)), color=colours)
            axes.set_yticks(range(len(rows)), titles)
            for place, value in enumerate(values):
                axes.annotate(format_number(value), (value, place), (6, 0), textcoords="offset points", va="center")
            axes.grid(alpha=0.3)
            axes.set_xscale("log")
            axes.margins(x=0.15)
            axes.set_title(name, fontsize=9)
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, metadata={"Date": None})


def write(results: Results, folder: Path) -> None:
    """Write results.json, RESULTS.md and results.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    results.save(folder / "results.json")
    (folder / "RESULTS.md").write_text(format_report(results))
    plot(results, folder / "results.svg")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__.split("\n")[0])
    parser.add_argument(
        "folder", type=Path, nargs="?", default=ROOT / "benchmarks", help="folder of results.json [benchmarks]"
    )
    folder = parser.parse_args().folder
    write(Results.load(folder / "results.json"), folder)


if __name__ == "__main__":
    main()
