"""The check before a release compares ratios, not rates."""

import pytest

from benchmarks.check import compare_with_kept
from benchmarks.results import Figure, Results, Run
from benchmarks.servers import find_vector_instructions


def make_results(rates: dict[str, list[float]], instructions: str = "AVX2") -> Results:
    """Make a comparison with one figure per round. The CPU time follows from the rate."""
    runs = [
        Run(name, 1.0, 100.0, [Figure(16, rate, 1.0, 2.0, 1e6 / rate, 0, 0, 0.1)])
        for name, server_rates in rates.items()
        for rate in server_rates
    ]
    return Results({"Vector instructions": instructions}, rounds=2, runs=runs)


KEPT = make_results({"constant": [1000, 1000], "digitserve": [200, 200], "tutorial": [40, 40]})


def test_a_slower_machine_is_no_slower_service() -> None:
    """All servers at a third of their speed, and the ratios of each round, give the kept ratios."""
    slow = make_results({"constant": [333, 500], "digitserve": [66.6, 100], "tutorial": [13.3, 20]})
    table, worse = compare_with_kept(slow, KEPT)
    assert not worse
    assert "| requests per second, of uvicorn's constant answer | 0.200 | 0.200 to 0.200 | 0.200 |" in table


def test_a_slower_service_is_found() -> None:
    """A quarter fewer requests with the same constant answer is worse in all three ratios."""
    slower = make_results({"constant": [1000, 1000], "digitserve": [150, 150], "tutorial": [40, 40]})
    table, worse = compare_with_kept(slower, KEPT)
    assert worse
    assert table.count(", worse |") == 3


def test_another_kind_of_cpu_proves_nothing() -> None:
    """The networks are slower without VNNI, so the ratios are shown but not judged."""
    slower = make_results({"constant": [1000, 1000], "digitserve": [100, 100]}, "AVX-512 VNNI")
    table, worse = compare_with_kept(slower, KEPT)
    assert not worse
    assert "The last kept results are from another kind of CPU (AVX2)." in table


def test_an_interrupted_comparison_has_its_complete_rounds() -> None:
    """A round in which one of the two servers is missing counts for nothing."""
    cut = make_results({"constant": [1000, 500], "digitserve": [200]})
    table, _ = compare_with_kept(cut, KEPT)
    assert "| 0.200 | 0.200 to 0.200 |" in table
    assert "tutorial" not in table


def test_the_spread_is_that_between_the_slowest_and_the_fastest_round() -> None:
    """90 and 110 requests per second differ by a fifth of their median. One round has no spread."""
    assert make_results({"constant": [90, 110]}).spread("constant", 16) == pytest.approx(0.2)
    assert make_results({"constant": [90]}).spread("constant", 16) == 0


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", "AVX-512 VNNI"),
        ("flags\t\t: fpu avx2", "AVX2"),
        ("Features\t: fp asimd asimddp i8mm", "Arm I8MM"),
        ("flags\t\t: fpu sse2", "none that we know"),
    ],
)
def test_the_best_vector_instructions_are_named(line: str, name: str) -> None:
    """As the kernel lists them, on x86 and on Arm."""
    assert find_vector_instructions(f"model name\t: X\n{line}\n") == name
