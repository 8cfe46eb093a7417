"""The results of ``digitserve bench``, as numbers and as a table."""

import math
from typing import Any

from app.cli.load_generator import Tally

QUANTILES = {"min": 0.0, "p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}

# When one of these is exceeded, the figures describe the generator rather than the server.
MAX_BUSY_SHARE = 0.85  # of one core
MAX_LATE_MS = 1.0  # p99 of how late requests started; also at most a tenth of the p99 latency


def compute_quantiles(seconds: list[float]) -> dict[str, float]:
    """Return the quantiles in milliseconds.

    Each is a measured time: the smallest with at least this share of the times at or below it.
    """
    ordered = sorted(seconds)
    return {name: ordered[max(math.ceil(q * len(ordered)), 1) - 1] * 1e3 for name, q in QUANTILES.items() if ordered}


def summarize(tally: Tally, open_loop: bool) -> dict[str, Any]:
    """Return the results as ``--json`` prints them."""
    latency, lag = compute_quantiles(tally.latencies), compute_quantiles(tally.lags)
    late = bool(latency and lag) and lag["p99"] > max(MAX_LATE_MS, latency["p99"] / 10)
    return {
        "seconds": round(tally.window, 3),
        "requests": tally.requests,
        "offered_per_second": round(tally.requests / tally.window, 1) if open_loop else None,
        "answered": tally.answered,
        "answered_per_second": round(tally.answered / max(tally.window, tally.last_answer - tally.started), 1),
        "errors": {str(kind): count for kind, count in sorted(tally.errors.items(), key=str)},
        "latency_ms": {name: round(value, 3) for name, value in latency.items()},
        "bytes_sent": tally.bytes_sent,
        "bytes_received": tally.bytes_received,
        "connections_reopened": tally.reopened,
        "generator_busy": round(tally.busy, 3),
        "generator_late_p99_ms": round(lag["p99"], 3) if lag else None,
        "generator_was_the_bottleneck": late or tally.busy > MAX_BUSY_SHARE,
    }


def format_table(results: dict[str, Any]) -> str:
    """Format the results for people, one row per number."""
    rows: dict[str, str] = {}
    for name, value in results.items():
        label = name.replace("_", " ")
        if isinstance(value, dict):
            style = ",.3f" if name == "latency_ms" else ","
            rows |= {f"{label} {key}": f"{number:{style}}" for key, number in value.items()}
        elif isinstance(value, bool):
            rows[label] = "yes" if value else "no"
        elif value is not None:
            rows[label] = value if isinstance(value, str) else f"{value:,}"
    lines = [f"{label:<30}{value:>15}" for label, value in rows.items()]
    if results["generator_busy"] > MAX_BUSY_SHARE:
        lines += ["", "The generator had no time left: these figures describe it rather than the server."]
    elif results["generator_was_the_bottleneck"]:
        lines += ["", "The generator started requests late: the longer latencies describe it rather than the server."]
    return "\n".join(lines)
