"""Draw what the ink finder sees on synthetic pages: some that are read rightly, and the most telling failures.

    python -m benchmarks.finder --examples docs/images/finder.png --failures docs/images/finder-failures.png

Beside each page is the ink that was kept, each piece in its own colour, and a box around each digit that was read. What
counts as paper or as a printed line is blank. Pages of one digit go through /predict, with the 28x28 picture that the
network saw; the others go through /read. Captions are black if the reading is right, red if it is wrong and accepted,
and blue if it is wrong and refused. The pages are those of ``benchmarks.pages``, from digits and writers that no
released model was trained on. DIGITS_DATA_DIR names the folder of MNIST and of the Swiss scans.
"""

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from app.imaging.decode import open_image
from app.imaging.ink import find_ink
from app.recognition.digit import prepare_file
from benchmarks.data import DATA_DIR, required_data
from benchmarks.pages import Outcome, make_numbered_page, read_page
from benchmarks.pictures import MAX_PIXELS, Model
from training.pages.kinds import ONE_DIGIT
from training.pages.page import SyntheticPage
from training.pages.sources import Sources

ACROSS, TILE_WIDTH, GAP = 2, 596, 5  # the last two in pixels
PANEL_HEIGHT, CAPTION_HEIGHT, FONT_SIZE = 210, 20, 12  # pixels
LONGEST_TEXT = 22  # characters of a text in a caption
COLOURS = 256  # of a sheet, as many as a PNG file with a palette can have: it is much smaller than one without
INKS = ((200, 30, 40), (20, 110, 190), (20, 135, 70), (215, 110, 0), (125, 60, 165), (0, 140, 150), (140, 85, 45))


@dataclass(frozen=True)
class Case:
    """A page to draw. Its seed is below 1000: pages of seed 2027 only measure."""

    kind: str
    seed: int
    index: int
    is_upside_down: bool = False


EXAMPLES = (
    Case("box-row", 7, 36),
    Case("box-row", 7, 17),
    Case("ruled", 7, 5),
    Case("desk", 7, 16),
    Case("squared", 7, 20),
    Case("blackboard", 7, 13),
)
FAILURES = (
    Case("page", 9, 35),
    Case("box-row", 9, 12),
    Case("box-row", 7, 8, is_upside_down=True),
    Case("page", 9, 3),
    Case("single", 9, 16),
    Case("ruled", 9, 15),
    Case("desk", 7, 22),
    Case("squared", 7, 11),
    Case("desk", 7, 36),
    Case("print", 7, 33),
)


def make_case(sources: Sources, case: Case) -> SyntheticPage:
    """Make the page of a case."""
    page = make_numbered_page(sources, case.kind, case.seed, case.index)
    if not case.is_upside_down:
        return page
    file = io.BytesIO()
    Image.open(io.BytesIO(page.data)).transpose(Image.Transpose.ROTATE_180).save(file, "PNG")
    return replace(page, data=file.getvalue(), boxes=[], classes=np.rot90(page.classes, 2))


def draw_ink(outcome: Outcome, size: tuple[int, int]) -> Image.Image:
    """Draw the ink that was found on a page, and the boxes of the digits that were read.

    Args:
        outcome: A page and its reading.
        size: Width and height of the drawing, in pixels.
    """
    picture = open_image(outcome.page.data, MAX_PIXELS).decode()
    ink = find_ink(picture.pixels, "digit" if outcome.page.kind in ONE_DIGIT else "page")
    colours = np.full((int(ink.labels.max()) + 1, 3), 255, np.uint8)  # of each label; specks stay white
    for index, piece in enumerate(ink.pieces):
        colours[piece.label] = INKS[index % len(INKS)]
    drawing = Image.fromarray(colours[ink.labels]).resize(size, Image.Resampling.BOX)
    draw, scale = ImageDraw.Draw(drawing), size[0] / picture.width
    for box in outcome.answer.boxes:
        edges = (box.left - 1, box.top - 1, box.left + box.width, box.top + box.height)
        draw.rectangle(tuple(round(edge * scale) for edge in edges), outline="black")
    return drawing


def write_caption(number: int, outcome: Outcome) -> str:
    """Write what a page shows, what was read, and whether that was accepted."""
    texts = [text.replace("\n", " / ") for text in (outcome.page.text, outcome.answer.text)]
    truth, read = (text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…" for text in texts)
    state = "accepted" if outcome.answer.accepted else f"not accepted ({outcome.answer.reason})"
    return f"{number}. {outcome.page.kind}: {truth}, read as {read or 'nothing'}, {state}"


def draw_tile(number: int, outcome: Outcome) -> Image.Image:
    """Draw a page, the ink on it, and for one digit what the network saw, side by side above a caption."""
    photo = Image.open(io.BytesIO(outcome.page.data)).convert("RGB")
    is_one_digit = outcome.page.kind in ONE_DIGIT
    panel_width = (TILE_WIDTH - GAP) // (3 if is_one_digit else 2) - GAP
    scale = min(panel_width / photo.width, PANEL_HEIGHT / photo.height)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    panels = [photo.resize(size, Image.Resampling.LANCZOS), draw_ink(outcome, size)]
    if is_one_digit:
        seen = Image.fromarray(prepare_file(outcome.page.data, MAX_PIXELS).pixels)
        panels.append(seen.resize((size[1], size[1]), Image.Resampling.NEAREST))
    tile = Image.new("RGB", (TILE_WIDTH, size[1] + CAPTION_HEIGHT + 2 * GAP), "white")
    draw, left = ImageDraw.Draw(tile), GAP
    for panel in panels:
        tile.paste(panel, (left, GAP))
        draw.rectangle((left - 1, GAP - 1, left + panel.width, GAP + panel.height), outline="silver")
        left += panel.width + GAP
    font = ImageFont.load_default(FONT_SIZE)
    draw.text((GAP, size[1] + GAP + 2), write_caption(number, outcome), fill=outcome.colour, font=font)
    return tile


def draw_sheet(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw pages in two columns."""
    tiles = [draw_tile(number, outcome) for number, outcome in enumerate(outcomes, start=1)]
    rows = [tiles[start : start + ACROSS] for start in range(0, len(tiles), ACROSS)]
    heights = [max(tile.height for tile in row) for row in rows]
    sheet = Image.new("RGB", (ACROSS * TILE_WIDTH, sum(heights)), "white")
    for index, row in enumerate(rows):
        for column, tile in enumerate(row):
            sheet.paste(tile, (column * TILE_WIDTH, sum(heights[:index])))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"Wrote {path}: {len(outcomes)} pages.")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.finder", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=Path, metavar="FILE", help="draw pages that are read rightly")
    parser.add_argument("--failures", type=Path, metavar="FILE", help="draw pages that are not")
    arguments = parser.parse_args()
    if not arguments.examples and not arguments.failures:
        parser.error("name a file to draw: --examples, --failures or both")
    cv2.setNumThreads(1)
    model = Model.released()
    with required_data():
        sources = Sources.load(DATA_DIR, "held out")
    for cases, path in ((EXAMPLES, arguments.examples), (FAILURES, arguments.failures)):
        if path:
            draw_sheet([read_page(model, make_case(sources, case)) for case in cases], path)


if __name__ == "__main__":
    main()
