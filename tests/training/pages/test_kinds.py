"""Every kind of page is a file with digits whose place is known."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from training.pages.kinds import KINDS, ONE_DIGIT, make_page
from training.pages.page import SyntheticPage
from training.pages.sheet import DIGIT, OTHER_HANDWRITING, PRINT
from training.pages.sources import Sources


def make(sources: Sources, kind: str, seed: int = 3) -> SyntheticPage:
    """Make one page."""
    return make_page(sources, np.random.default_rng(seed), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_described_completely(sources: Sources, kind: str) -> None:
    """The file has the size of the classes, each digit of the text has a box, and each box has pixels of a digit."""
    page = make(sources, kind)
    height, width = page.classes.shape
    assert Image.open(io.BytesIO(page.data)).size == (width, height)
    assert page.kind == kind
    assert [len(line) for line in page.boxes] == [len(line) for line in page.text.split("\n")]
    assert page.text.replace("\n", "").isdecimal()
    for box in (box for line in page.boxes for box in line):
        assert 0 <= box.left < box.right <= width
        assert 0 <= box.top < box.bottom <= height
        assert (page.classes[box.slices] == DIGIT).any()
    if kind in ONE_DIGIT:
        assert len(page.text) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_makes_the_same_page(sources: Sources, kind: str) -> None:
    """The same seed makes the same bytes; another seed makes others."""
    assert make(sources, kind).data == make(sources, kind).data
    assert make(sources, kind).data != make(sources, kind, 4).data


@pytest.mark.parametrize("kind", KINDS)
def test_pages_need_no_data(kind: str) -> None:
    """Without data sets and fonts, the digits are sketched."""
    assert make(Sources(), kind).text


def test_the_ink_is_where_the_classes_say(sources: Sources) -> None:
    """On scanned forms, digits are darker than the paper, and frames are darker than the digits."""
    for seed in range(5):
        page = make(sources, "box-cell", seed)
        grey = np.asarray(Image.open(io.BytesIO(page.data)).convert("L"), float)
        paper, digit, frame = (np.median(grey[page.classes == each]) for each in (0, DIGIT, PRINT))
        assert frame < digit < paper


def test_labels_are_even(sources: Sources) -> None:
    """All ten digits occur, and none more than twice as often as it should."""
    counts = Counter(make(sources, "faint28", seed).text for seed in range(200))
    assert len(counts) == 10
    assert max(counts.values()) < 40


def test_a_print_page_has_other_handwriting(sources: Sources) -> None:
    """Of 12 pages, some have words written by hand, and these are not digits."""
    kinds = {each for seed in range(12) for each in np.unique(make(sources, "print", seed).classes)}
    assert OTHER_HANDWRITING in kinds
