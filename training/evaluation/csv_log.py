"""Appends rows to the CSV logs in ``docs/``."""

import csv
from pathlib import Path
from typing import Any


def append_row(log: Path, row: dict[str, Any]) -> None:
    """Append a row to a CSV file. A new file starts with the keys of the row as its header."""
    log.parent.mkdir(parents=True, exist_ok=True)
    is_new = not log.exists()
    with log.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)
