"""Records where a model comes from: its runs, its data, the commit, the versions and the machine."""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from training.data.populations import HeldOut
from training.runs import Run


def describe_provenance(runs: Sequence[Run], trained_on: int, held_out: HeldOut | None) -> dict[str, Any]:
    """Return the field ``training`` of a manifest.

    Args:
        trained_on: Number of digits that the networks were trained on.
        held_out: The held-out digits, if any.
    """
    return {
        "finished": all(run.finished for run in runs),
        "data": {
            "trained_on": trained_on,  # digits in an epoch
            "held_out": {name: len(digits) for name, digits in held_out.by_population.items()} if held_out else {},
        },
        "commit": describe_commit(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "runs": [
            {
                "recipe": asdict(run.recipe),
                "seed": run.seed,
                "arithmetic": run.arithmetic,
                "devices": run.devices,
                "epochs_done": len(run.history),
                "seconds": round(run.seconds, 1),
                "history": [asdict(epoch) for epoch in run.history],
            }
            for run in runs
        ],
    }


def describe_commit() -> str:
    """Return the hash of the commit that is checked out, with a + if tracked files differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, cwd=Path(__file__).parent, check=True
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short=10", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
