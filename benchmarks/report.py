"""A comparison for people: RESULTS.md, and results.svg beside it.

    python -m benchmarks.report [FOLDER]

makes both again from the results.json of a folder. Measures nothing.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure as Plot

from benchmarks.peers import CONTENDERS, OURS, ROOT, Contender
from benchmarks.results import Figure, Results

AT = 16  # connections that servers are compared at
CONNECTIONS = (1, 16, 64)
LOAD_LIMIT = 0.9  # share of its core past which the load may have been what limited


@dataclass(frozen=True)
class Row:
    """A server in the tables: what is typical of it."""

    contender: Contender
    results: Results

    @property
    def title(self) -> str:
        return f"**{self.contender.title}**" if self.contender.folder == OURS.folder else self.contender.title

    def at(self, connections: int, value: Callable[[Figure], float]) -> float | None:
        return self.results.typical(self.contender.name, connections, value)

    @property
    def per_second(self) -> float:
        return self.at(AT, lambda figure: figure.per_second) or 0.0

    @property
    def installed(self) -> str:
        own = number(self.results.installed_mb.get(self.contender.name))
        return f"{own} + torch" if self.contender.torch else own


def number(value: float | None) -> str:
    """Write a number with three digits, or with all before the point where there are more."""
    if value is None:
        return "-"
    places = max(0, 3 - len(f"{int(value)}".lstrip("0")))
    return f"{value:,.{places}f}"


def rows(results: Results) -> list[Row]:
    """What was measured, fastest first; of servers with one title the fastest alone."""
    best: dict[str, Row] = {}
    for contender in CONTENDERS:
        row = Row(contender, results)
        if row.per_second and (contender.title not in best or row.per_second > best[contender.title].per_second):
            best[contender.title] = row
    return sorted(best.values(), key=lambda row: -row.per_second)


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; the first column is words, the others numbers."""
    marks = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, marks, *lines))


def summary(results: Results) -> str:
    """A line a server, at 16 connections."""
    ours = Row(OURS, results).per_second or None
    lines = [
        [
            row.title,
            number(row.per_second),
            number(ours / row.per_second) if ours else "-",
            number(row.at(AT, lambda figure: figure.p50_ms)),
            number(row.at(AT, lambda figure: figure.p99_ms)),
            number(row.at(AT, lambda figure: figure.cpu_us)),
            number(results.typical_run(row.contender.name, lambda run: run.resident_mb)),
            number(results.typical_run(row.contender.name, lambda run: run.start_seconds)),
            row.installed,
        ]
        for row in rows(results)
    ]
    head = ["server", "requests/s", "digitserve ÷ it", "p50 ms", "p99 ms", "CPU µs a request"]
    return table([*head, "memory MB", "start s", "installed MB"], lines)


def by_connections(results: Results) -> str:
    """A line a server, at each number of connections."""
    values: dict[str, Callable[[Figure], float]] = {
        "requests/s": lambda figure: figure.per_second,
        "p50 ms": lambda figure: figure.p50_ms,
        "p99 ms": lambda figure: figure.p99_ms,
    }
    head = ["server", *(f"{name}, {connections}" for name in values for connections in CONNECTIONS)]
    lines = [
        [row.title, *(number(row.at(connections, value)) for value in values.values() for connections in CONNECTIONS)]
        for row in rows(results)
    ]
    return table(head, lines)


def remarks(results: Results) -> list[str]:
    """What a reader must know of single figures."""
    told = []
    for row in rows(results):
        name, title = row.contender.name, row.contender.title
        others = [other for other in CONTENDERS if other.title == title and other.name != name]
        for rate, other in ((Row(other, results).per_second, other) for other in others):
            if rate:
                ways = [
                    f"in batches of up to {it.batch}" if it.batch > 1 else "one by one" for it in (row.contender, other)
                ]
                told.append(f"{title} is the faster {ways[0]}; {ways[1]} it made {number(rate)} requests/s.")
        figures = [figure for run in results.runs if run.server == name for figure in run.figures]
        if faults := sum(figure.refused + figure.broken for figure in figures):
            told.append(f"{title} refused or did not answer {faults:,} requests.")
        if busiest := max((figure.load_busy for figure in figures if figure.load_busy > LOAD_LIMIT), default=None):
            told.append(f"{title}: wrk took {busiest:.0%} of its own core, so the server may be faster than this.")
    told += [f"{name} could not be measured: {reason}" for name, reason in results.failures.items()]
    return told


def document(results: Results) -> str:
    whole = [run.server for run in results.runs if run.resident_mb]
    rounds = min((whole.count(row.contender.name) for row in rows(results)), default=0)
    cut = "" if rounds >= results.rounds else f", of which {rounds} {'was' if rounds == 1 else 'were'} finished"
    about = "\n".join(f"- {name}: {value}" for name, value in results.about.items())
    versions = ", ".join(f"{name} {version}" for name, version in sorted(results.versions.items()))
    torch = number(results.installed_mb.get("torch"))
    return f"""\
# Servers side by side

Made by `make bench` (`python -m benchmarks.servers`), and made again by it: do not edit. The raw numbers are in
[results.json](results.json), how each server is started and its code in [peers/](peers/).

All serve the textbook CNN, in the way that the server's own documentation recommends; digitserve serves its released
model besides, which is the one compared. Each answers posts of MNIST's test digits: forms with a PNG file, for MLServer
the pixels as a JSON tensor, which it need not decode. Before a server is measured, its digits must be the model's. One
core has all processes of the server, another the load, wrk. A connection sends its next request when it has its answer,
and the percentiles also count the requests that a slow answer kept from being sent. Each figure is the
median of {results.rounds} {"round" if results.rounds == 1 else "rounds"}{cut}.

## At {AT} connections

{summary(results)}

Memory counts a page that several processes share once, after the load. Start is from the process to the first answer.
Installed is what pip brings; torch, from PyPI with CUDA's libraries, is {torch} MB more. digitserve has its access log
and every limit on; the constant answer has no access log.

![Requests a second, and the 99th percentile, at {AT} connections](results.svg)

## At {", ".join(map(str, CONNECTIONS))} connections

{by_connections(results)}

## Remarks

{chr(10).join(f"- {remark}" for remark in remarks(results)) or "None."}

## Where

{about}
- Versions: {versions}
"""


def plot(results: Results, path: Path) -> None:
    """Draw requests a second and the 99th percentile, both at 16 connections."""
    shown = rows(results)[::-1]
    titles = [row.contender.title for row in shown]
    colours = ["#c2410c" if row.contender.folder == OURS.folder else "#64748b" for row in shown]
    with mpl.rc_context({"svg.hashsalt": "digitserve", "font.size": 9, "svg.fonttype": "none"}):
        figure = Plot(figsize=(9, 0.8 + 0.32 * len(shown)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, name, values in (
            (left, f"requests a second, {AT} connections", [row.per_second for row in shown]),
            (right, "99th percentile, ms", [row.at(AT, lambda figure: figure.p99_ms) or 0.0 for row in shown]),
        ):
            axes.scatter(values, range(len(shown)), color=colours)
            axes.set_yticks(range(len(shown)), titles)
            for place, value in enumerate(values):
                axes.annotate(number(value), (value, place), (6, 0), textcoords="offset points", va="center")
            axes.grid(alpha=0.3)
            axes.set_xscale("log")
            axes.margins(x=0.15)
            axes.set_title(name, fontsize=9)
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, metadata={"Date": None})


def write(results: Results, folder: Path) -> None:
    """Write results.json, and what is made of it."""
    folder.mkdir(parents=True, exist_ok=True)
    results.save(folder / "results.json")
    (folder / "RESULTS.md").write_text(document(results))
    plot(results, folder / "results.svg")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "benchmarks", help="where results.json is")
    folder = parser.parse_args().folder
    write(Results.load(folder / "results.json"), folder)


if __name__ == "__main__":
    main()
