"""Measure how well the service reads synthetic pages: forms, photographs, scans, blackboards, tiny pictures.

    python -m benchmarks.pages [--count 100] [--kinds page desk] [--seed 2027] [--sheet FILE] [--failures FOLDER]

``training/pages`` makes the pages from digits and writers that no released model was trained on. Pages of one digit go
through /predict, the others through /read. A page is right if its whole text is; a page that the service refuses with
an error counts as not accepted. Seeds below 1000 are for choosing the constants of app/imaging, 2027 is for figures
that are published. DIGITS_DATA_DIR names the folder of MNIST and of the Swiss scans.
"""

import argparse
import io
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from benchmarks.data import DATA_DIR, required_data
from benchmarks.pictures import Answer, Model
from training.pages.kinds import KINDS, ONE_DIGIT, make_page
from training.pages.page import SyntheticPage
from training.pages.sources import SYSTEM_FONTS, Sources

SEED = 2027


@dataclass(frozen=True)
class Outcome:
    """What the service made of one page."""

    page: SyntheticPage
    answer: Answer
    cpu_s: float

    @property
    def right(self) -> bool:
        return self.answer.text == self.page.text

    @property
    def colour(self) -> str:
        """Of its caption: black is right, red is wrong and accepted, blue is wrong and refused."""
        return "black" if self.right else "red" if self.answer.accepted else "blue"


def read_page(model: Model, page: SyntheticPage) -> Outcome:
    """Read a page as the service does."""
    started = time.process_time()
    answer = model.answer(page.data, page.kind not in ONE_DIGIT)
    return Outcome(page, answer, time.process_time() - started)


def make_numbered_page(sources: Sources, kind: str, seed: int, index: int) -> SyntheticPage:
    """Make page number ``index`` of a kind."""
    return make_page(sources, np.random.default_rng([seed, KINDS.index(kind), index]), kind)


def measure_kind(model: Model, sources: Sources, kind: str, count: int, seed: int) -> list[Outcome]:
    """Read ``count`` pages of a kind. Page number i is the same for any count and any other kinds."""
    return [read_page(model, make_numbered_page(sources, kind, seed, index)) for index in range(count)]


def print_row(kind: str, outcomes: Sequence[Outcome]) -> None:
    """Print the figures of one kind."""
    right = sum(outcome.right for outcome in outcomes)
    accepted = [outcome for outcome in outcomes if outcome.answer.accepted]
    wrong = sum(not outcome.right for outcome in accepted)
    cpu_ms = statistics.median(outcome.cpu_s for outcome in outcomes) * 1e3
    share = wrong / len(accepted) if accepted else 0.0
    print(
        f"{kind:12}{right / len(outcomes):8.1%}{len(accepted) / len(outcomes):10.1%}"
        f"{wrong:6} ({share:.1%}){cpu_ms:10.1f}",
        flush=True,
    )


def draw_sheet(outcomes: Sequence[Outcome], path: Path, across: int = 6, side: int = 260) -> None:
    """Draw pages beside each other, each with its text and what was read."""
    sheet = Image.new("RGB", (side * across, side * -(-len(outcomes) // across)), "white")
    for index, outcome in enumerate(outcomes):
        image = Image.open(io.BytesIO(outcome.page.data)).convert("RGB")
        scale = min((side - 6) / image.width, (side - 32) / image.height)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        left, top = index % across * side, index // across * side
        sheet.paste(image.resize(size, Image.Resampling.LANCZOS), (left + 3, top + 3))
        caption = f"{outcome.page.kind} {outcome.page.text!r}\n> {outcome.answer.text[:36]!r}"
        ImageDraw.Draw(sheet).multiline_text((left + 4, top + side - 28), caption, fill=outcome.colour, spacing=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    print(f"Wrote {path}: black is right, red is wrong and accepted, blue is wrong and refused.")


def save_failures(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Save the pages that were read wrongly, with the kind, the text and what was read in the name."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, outcome in enumerate(outcomes):
        if not outcome.right:
            texts = [outcome.page.text, outcome.answer.text[:40]]
            truth, read = ("".join(c if c.isalnum() else "_" for c in text) or "nothing" for text in texts)
            state = "accepted" if outcome.answer.accepted else "refused"
            suffix = "png" if outcome.page.data.startswith(b"\x89PNG") else "jpg"
            name = f"{outcome.page.kind}-{index:04}-{state}-{truth}-read-{read}.{suffix}"
            (folder / name).write_bytes(outcome.page.data)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pages", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100, help="pages of each kind [100]")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds of pages [all]")
    parser.add_argument("--seed", type=int, default=SEED, help=f"below 1000 to choose constants [{SEED}]")
    parser.add_argument(
        "--fonts", type=Path, nargs="+", default=[SYSTEM_FONTS], help=f"folders of fonts [{SYSTEM_FONTS}]"
    )
    parser.add_argument(
        "--part", choices=["held out", "training"], default="held out", help="which digits and writers [held out]"
    )
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw the first pages of each kind")
    parser.add_argument("--failures", type=Path, metavar="FOLDER", help="save the pages that were read wrongly")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    model = Model.released()
    with required_data():
        sources = Sources.load(DATA_DIR, arguments.part, arguments.fonts)
    print(f"{model.folder.manifest.id}, seed {arguments.seed}, {arguments.count} pages of each kind")
    print(f"{'kind':12}{'right':>8}{'accepted':>10}{'of them wrong':>14}{'CPU ms':>9}")
    shown = []
    for kind in arguments.kinds:
        outcomes = measure_kind(model, sources, kind, arguments.count, arguments.seed)
        print_row(kind, outcomes)
        shown += outcomes[:6]
        if arguments.failures:
            save_failures(outcomes, arguments.failures)
    if arguments.sheet:
        draw_sheet(shown, arguments.sheet)


if __name__ == "__main__":
    main()
