"""The benchmark of pages counts what a user would count."""

from typing import NoReturn

import numpy as np
import pytest

from app.errors import CrowdedPictureError
from benchmarks.pages import Outcome, print_row, read_page
from benchmarks.pictures import Answer, Model
from training.pages.kinds import make_page
from training.pages.page import SyntheticPage
from training.pages.sources import Sources


class RefusingModel(Model):
    """A model that refuses to read any number."""

    def __init__(self) -> None:
        pass

    def read(self, file: bytes) -> NoReturn:
        raise CrowdedPictureError("It shows too much.")


def make(kind: str) -> SyntheticPage:
    """Make a page of sketched digits."""
    return make_page(Sources(), np.random.default_rng(0), kind)


def test_an_error_counts_as_refused() -> None:
    """A page that the service answers with an error is neither right nor accepted."""
    outcome = read_page(RefusingModel(), make("box-row"))
    assert outcome.answer.text == "CrowdedPictureError: It shows too much."
    assert not outcome.answer.accepted
    assert not outcome.right


def test_a_digit_is_read_as_the_service_reads_it() -> None:
    """The released model reads a digit drawn on a screen."""
    outcome = read_page(Model.released(), make("single"))
    assert outcome.right
    assert outcome.answer.accepted


def test_a_row_has_the_shares(capsys: pytest.CaptureFixture[str]) -> None:
    """Two of four are right, three are accepted, and one of these is wrong."""
    page = make("faint28")
    wrong = "?"
    outcomes = [
        Outcome(page, Answer(text, accepted, None), 0.002)
        for text, accepted in [(page.text, True), (page.text, True), (wrong, True), (wrong, False)]
    ]
    print_row("faint28", outcomes)
    assert capsys.readouterr().out.split() == ["faint28", "50.0%", "75.0%", "1", "(33.3%)", "2.0"]
