"""Measure how well the service reads pictures that people made: photographs, scans, drawings, boxes of forms.

    python -m benchmarks.real_pictures [--real ../shared/real] [--failures]

The pictures are not part of the repository, and no model is trained on them. ``--real`` names a folder with
``labels.csv`` (path, kind, label, medium, notes). Pictures of the kind ``single`` and ``other`` (no digit) go through
/predict, those of the kind ``number`` through /read, with lines parted by ``/`` in the label. The Swiss scans are read
from ``swiss/scans.zip`` in the folder DIGITS_DATA_DIR: writers 0001 to 0009 are for choosing constants, writers 0010 to
0012 only for measuring. What is missing is skipped.
"""

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from benchmarks.data import DATA_DIR
from benchmarks.pictures import Model
from training.data.swiss import HELD_OUT_WRITERS, TRAINING_WRITERS, read_scans
from training.errors import DataError

REAL_PICTURES = Path("../shared/real")
WRITERS = {"writers 1-9": TRAINING_WRITERS, "writers 10-12": HELD_OUT_WRITERS}


@dataclass(frozen=True)
class Outcome:
    """What the service made of one picture."""

    name: str
    label: str  # empty if it shows no digit
    text: str
    accepted: bool
    reason: str | None

    @property
    def right(self) -> bool:
        return self.text == self.label


def read_picture(model: Model, name: str, data: bytes, label: str, is_number: bool) -> Outcome:
    """Read a picture as the service does. An error of the service counts as refused."""
    answer = model.answer(data, is_number)
    return Outcome(name, label, answer.text.replace("\n", "/"), answer.accepted, answer.reason)


def read_real_pictures(model: Model, folder: Path) -> dict[tuple[str, str], list[Outcome]]:
    """Read all pictures of a folder with ``labels.csv``. Returns the outcomes of each kind and medium."""
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    with (folder / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            data, kind = (folder / row["path"]).read_bytes(), row["kind"]
            label = "" if kind == "other" else row["label"]
            outcome = read_picture(model, row["path"], data, label, kind == "number")
            groups[kind, row["medium"]].append(outcome)
            groups[kind, "all"].append(outcome)
    return groups


def print_row(kind: str, medium: str, outcomes: Sequence[Outcome]) -> None:
    """Print how many are right and accepted, and how many of the accepted ones are wrong."""
    count, right = len(outcomes), sum(outcome.right for outcome in outcomes)
    accepted = [outcome for outcome in outcomes if outcome.accepted]
    wrong = sum(not outcome.right for outcome in accepted)
    several = sum(outcome.reason == "several_digits" for outcome in outcomes)
    share = "-" if kind == "other" else f"{right:5} {right / count:7.2%}"
    print(
        f"{kind:8}{medium:14}{count:5}{share:>14}{len(accepted):6} {len(accepted) / count:7.2%}"
        f"{wrong:5} {wrong / max(1, len(accepted)):7.2%}{several:6}",
        flush=True,
    )


def print_failures(outcomes: Sequence[Outcome]) -> None:
    """Print what was read wrongly, or accepted although it shows no digit."""
    for outcome in outcomes:
        if (outcome.label and not outcome.right) or (not outcome.label and outcome.accepted):
            state = "ACCEPTED" if outcome.accepted else outcome.reason
            print(f"{outcome.name}: is {outcome.label or 'no digit'}, read {outcome.text or 'nothing'}, {state}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real_pictures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--real", type=Path, default=REAL_PICTURES, metavar="FOLDER", help=f"real pictures [{REAL_PICTURES}]"
    )
    parser.add_argument("--failures", action="store_true", help="list what was read wrongly")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    model = Model.released()
    groups = {}
    if (arguments.real / "labels.csv").exists():
        groups = read_real_pictures(model, arguments.real)
    else:
        print(f"There is no labels.csv in {arguments.real}: the real pictures are skipped.", file=sys.stderr)
    print(f"{model.folder.manifest.id}\nkind    medium            n         right    accepted  wrong of those  several")
    for (kind, medium), outcomes in sorted(groups.items()):
        print_row(kind, medium, outcomes)
    try:
        for name, writers in WRITERS.items():
            scans = read_scans(DATA_DIR, writers)
            outcomes = [read_picture(model, name, file, str(digit), is_number=False) for _, digit, file in scans]
            print_row("swiss", name, outcomes)
    except DataError as error:
        print(f"{error} The Swiss scans are skipped.", file=sys.stderr)
    if arguments.failures:
        for (_, medium), outcomes in sorted(groups.items()):
            if medium != "all":
                print_failures(outcomes)


if __name__ == "__main__":
    main()
