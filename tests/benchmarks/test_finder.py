"""The drawings of the ink finder show what the service made of a page."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.finder import EXAMPLES, FAILURES, TILE_WIDTH, Case, draw_ink, draw_sheet, make_case, write_caption
from benchmarks.pages import Outcome, read_page
from benchmarks.pictures import Answer, Model
from training.pages.kinds import KINDS
from training.pages.sources import Sources


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """A digit and a row of boxes, of sketched digits, read by the released model."""
    model = Model.released()
    return [read_page(model, make_case(Sources(), Case(kind, 0, 0))) for kind in ("single", "box-row")]


def test_the_colour_is_on_the_digits(outcomes: list[Outcome]) -> None:
    """Ink has a colour, and the paper and the printed boxes of a form have none."""
    for outcome in outcomes:
        classes = outcome.page.classes
        drawing = np.asarray(draw_ink(outcome, (classes.shape[1], classes.shape[0]))).astype(int)
        coloured = np.ptp(drawing, axis=2) > 0
        assert coloured.any()
        assert (classes[coloured] == 1).mean() > 0.9


def test_a_sheet_has_two_columns(outcomes: list[Outcome], tmp_path: Path) -> None:
    """Two pages are beside each other, in a file with few colours."""
    path = tmp_path / "new" / "sheet.png"
    draw_sheet(outcomes, path)
    with Image.open(path) as sheet:
        assert sheet.mode == "P"
        assert sheet.width == 2 * TILE_WIDTH
        assert sheet.height < TILE_WIDTH / 2


def test_a_page_can_be_turned_upside_down() -> None:
    """It shows the same number, but its picture and its classes are turned."""
    upright = make_case(Sources(), Case("single", 0, 0))
    turned = make_case(Sources(), Case("single", 0, 0, is_upside_down=True))
    assert turned.text == upright.text
    assert (turned.classes == upright.classes[::-1, ::-1]).all()


def test_a_caption_says_what_happened(outcomes: list[Outcome]) -> None:
    """It has the digits, what was read, and why that was not accepted."""
    page = outcomes[0].page
    wrong = Outcome(page, Answer("12\n3", False, "unread_ink"), 0.0)
    assert write_caption(3, wrong) == f"3. single: {page.text}, read as 12 / 3, not accepted (unread_ink)"
    assert write_caption(1, Outcome(page, Answer("", True, None), 0.0)) == (
        f"1. single: {page.text}, read as nothing, accepted"
    )


def test_no_published_page_is_drawn() -> None:
    """The seeds are those for choosing constants, and the kinds exist."""
    assert len(set(EXAMPLES + FAILURES)) == len(EXAMPLES) + len(FAILURES)
    for case in EXAMPLES + FAILURES:
        assert case.seed < 1000
        assert case.kind in KINDS
