"""The released model on digits that are drawn on the page's pad: in three hands, at any size and anywhere."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import pytest

from app.inference.engines import Engine
from app.inference.model_folder import ModelFolder
from app.inference.scores import score_pictures
from app.recognition.answers import Prediction
from app.recognition.digit import make_prediction, prepare_file
from tests.support.drawn_digits import HANDS, MIDDLE, PAD_PX, PEN_WIDTH, Hand, draw_digit, measure_ink
from tests.support.pictures import png

pytestmark = pytest.mark.slow  # starts services, or reads hundreds of pictures

SIZES = (0.3, 0.5, 0.75, 1.0, 1.3, 1.45, 1.6)  # times the usual size; the largest just fits on the pad


class Drawing(NamedTuple):
    """One digit on the pad."""

    digit: int
    size: float
    centre: tuple[float, float]


class Misread(NamedTuple):
    """A drawing and its wrong answer."""

    drawing: Drawing
    prediction: Prediction

    def __str__(self) -> str:
        digit, size, (x, y) = self.drawing
        answer = f"{self.prediction.digit}, {self.prediction.reason or 'accepted'}"
        return f"a {digit} of {size} times the usual size at ({x:.2f}, {y:.2f}) is read as {answer}"


def list_drawings(hand: Hand, sizes: Sequence[float], overhang: float = 0.0) -> Iterator[Drawing]:
    """List drawings in nine places: at the edges of the pad, in its corners and in its middle.

    At an edge, ``overhang``, a fraction of the pad's side, is cut off. By default, the ink just touches the edge.
    """
    for digit, size in product(range(10), sizes):
        width, height = measure_ink(digit, hand, size)
        left, top = width / 2 - overhang, height / 2 - overhang
        for centre in product((left, 0.5, 1 - left), (top, 0.5, 1 - top)):
            yield Drawing(digit, size, centre)


def read(drawings: Sequence[Drawing], hand: Hand, engine: Engine, model: ModelFolder) -> list[Prediction]:
    """Read each drawing, as /predict does."""
    files = [png(draw_digit(drawing.digit, hand, drawing.size, drawing.centre)) for drawing in drawings]
    pictures = [prepare_file(file, PAD_PX**2) for file in files]
    scores = score_pictures(engine, [picture.pixels for picture in pictures]).to_list()
    thresholds = model.manifest.thresholds("onnxruntime", None)
    return [make_prediction(*each, thresholds, model.manifest.id) for each in zip(pictures, scores, strict=True)]


def list_misread(drawings: Sequence[Drawing], predictions: Sequence[Prediction]) -> list[Misread]:
    """Return the drawings that were read wrongly."""
    pairs = map(Misread, drawings, predictions)
    return [pair for pair in pairs if pair.prediction.digit != pair.drawing.digit]


@pytest.mark.parametrize("hand", HANDS, ids=str)
def test_a_drawn_digit_is_read_at_any_size_and_place(hand: Hand, engine: Engine, released: ModelFolder) -> None:
    """At least 99 % of the drawings that fit on the pad are read correctly. No wrong answer is accepted."""
    drawings = list(list_drawings(hand, SIZES))
    misread = list_misread(drawings, read(drawings, hand, engine, released))
    assert [str(each) for each in misread if each.prediction.accepted] == []
    assert len(misread) <= 0.01 * len(drawings), [str(each) for each in misread]


@pytest.mark.parametrize("hand", HANDS, ids=str)
def test_a_drawn_digit_may_run_off_the_pad_a_little(hand: Hand, engine: Engine, released: ModelFolder) -> None:
    """At least 98 % of the drawings that lose a third of the pen's width at the edge are read correctly."""
    drawings = list(list_drawings(hand, (0.75, 1.3), PEN_WIDTH / 3))
    misread = list_misread(drawings, read(drawings, hand, engine, released))
    assert len(misread) <= 0.02 * len(drawings), [str(each) for each in misread]


@pytest.mark.parametrize("hand", HANDS, ids=str)
def test_each_drawn_digit_is_legible(hand: Hand, engine: Engine, released: ModelFolder) -> None:
    """All ten digits are read correctly in the middle of the pad, somewhat smaller than usual."""
    drawings = [Drawing(digit, 0.75, MIDDLE) for digit in range(10)]
    assert [each.digit for each in read(drawings, hand, engine, released)] == list(range(10))
