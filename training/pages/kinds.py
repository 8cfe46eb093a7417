"""The kinds of pages, and how each is made."""

from collections.abc import Callable

from numpy.random import Generator

from training.pages.forms import make_form
from training.pages.page import SyntheticPage
from training.pages.photographs import make_photograph
from training.pages.single_digits import make_faint, make_scan, make_single
from training.pages.sources import Sources

MAKERS: dict[str, Callable[[Sources, str, Generator], SyntheticPage]] = {
    "box-cell": make_form,
    "box-row": make_form,
    "page": make_photograph,
    "ruled": make_photograph,
    "squared": make_photograph,
    "desk": make_photograph,
    "print": make_photograph,
    "blackboard": make_photograph,
    "single": make_single,
    "scan": make_scan,
    "faint28": make_faint,
}
KINDS = tuple(MAKERS)
ONE_DIGIT = ("box-cell", "single", "scan", "faint28")  # the kinds that show one digit


def make_page(sources: Sources, generator: Generator, kind: str) -> SyntheticPage:
    """Make a page of one of ``KINDS``. The same sources and the same state of the generator make the same page."""
    return MAKERS[kind](sources, kind, generator)
