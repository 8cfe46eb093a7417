"""Check whether digitserve has become slower: ratios to servers that do not change, in about five minutes.

    python -m benchmarks.check [--rounds 6]

Run it before a release, with nothing else running. Ratios within a round hold on any machine, and are compared with
those of the last kept results (benchmarks/results.json) if that machine had the same vector instructions. The exit
status is 1 if one of them is clearly worse.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import load
from benchmarks.peers import CONTENDERS, ROOT
from benchmarks.report import MAIN_CONNECTIONS, MAX_SPREAD, format_table
from benchmarks.results import Figure, Results
from benchmarks.servers import compare, describe_machine, install, require_tools

SERVERS = ("floor", "constant", "digitserve", "tutorial")
TOLERANCE = 0.15  # by which a ratio may be worse than the last kept one
KEPT = ROOT / "benchmarks" / "results.json"


@dataclass(frozen=True)
class Ratio:
    """A figure of digitserve, divided by that of another server in the same round."""

    title: str
    other: str
    value: Callable[[Figure], float]
    higher_is_better: bool = True

    def measure(self, results: Results) -> list[float]:
        """Return the ratio in each round in which both servers were measured."""
        ours, theirs = (
            [self.value(figure) for figure in results.figures(name, MAIN_CONNECTIONS)]
            for name in ("digitserve", self.other)
        )
        return [one / other for one, other in zip(ours, theirs, strict=False)]

    def is_worse(self, now: float, before: float) -> bool:
        """Return whether the ratio is clearly worse than before."""
        return now < before * (1 - TOLERANCE) if self.higher_is_better else now > before * (1 + TOLERANCE)


RATIOS = [
    Ratio("requests per second, of uvicorn's constant answer", "constant", lambda figure: figure.per_second),
    Ratio("requests per second, of httptools' constant answer", "floor", lambda figure: figure.per_second),
    Ratio("requests per second, of the tutorial app", "tutorial", lambda figure: figure.per_second),
    Ratio("CPU time per request, of uvicorn's constant answer", "constant", lambda figure: figure.cpu_us, False),
]


def compare_with_kept(results: Results, kept: Results) -> tuple[str, bool]:
    """Return a table of all ratios, and whether one is clearly worse than that of the kept results."""
    machine = "Vector instructions"
    comparable = results.about.get(machine) == kept.about.get(machine)
    lines, worse = [], False
    for ratio in RATIOS:
        now, before = ratio.measure(results), ratio.measure(kept)
        if not now:
            continue
        median = statistics.median(now)
        mark = ""
        if before and comparable and ratio.is_worse(median, statistics.median(before)):
            mark, worse = ", worse", True
        last = f"{statistics.median(before):.3f}{mark}" if before else "-"
        lines.append([ratio.title, f"{median:.3f}", f"{min(now):.3f} to {max(now):.3f}", last])
    table = format_table(["ratio", "median", "all rounds", "last kept"], lines)
    if not comparable:
        table += f"\n\nThe last kept results are from another kind of CPU ({kept.about.get(machine, 'unknown')})."
    return table, worse


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=6, help="how often each server is measured [%(default)s]")
    parser.add_argument("--seconds", type=float, default=3, help="seconds of load for each figure [%(default)g]")
    arguments = parser.parse_args()
    require_tools()
    contenders = [contender for contender in CONTENDERS if contender.name in SERVERS]
    results = Results(describe_machine(), arguments.rounds)
    os.sched_setaffinity(0, {int(load.LOAD_CORE)})
    install(contenders, results)
    compare(contenders, results, arguments.seconds, 1.0, [MAIN_CONNECTIONS])
    table, worse = compare_with_kept(results, Results.load(KEPT))
    print("\n" + "\n".join(f"{name}: {value}" for name, value in results.about.items()))
    print(f"\n{table}")
    spread = results.spread("constant", MAIN_CONNECTIONS)
    print(f"\nThe constant answer varied by {spread:.0%}.", end=" ")
    print(
        "Above 15 % the machine is too busy to trust this." if spread > MAX_SPREAD else "The machine was quiet enough."
    )
    return int(worse or bool(results.failures))


if __name__ == "__main__":
    sys.exit(main())
