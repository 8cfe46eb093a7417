"""A camera keeps digits in the picture, and knows where they are."""

import numpy as np

from app.imaging.rectangle import Rectangle
from training.pages.camera import View, choose_view, look
from training.pages.sheet import DIGIT, Sheet


def make_sheet() -> Sheet:
    """Make a white sheet of 200x300 pixels with a black digit near a corner."""
    sheet = Sheet.of(np.full((200, 300, 3), 255, np.float32))
    sheet.start_line()
    sheet.write(np.ones((40, 20), np.float32), 1, 250, 20, (0, 0, 0))
    return sheet


def test_an_upright_view_changes_nothing() -> None:
    """The picture is the sheet, and the box is where the digit was written."""
    sheet = make_sheet()
    shot = look(sheet, View(np.eye(3), 300, 200))
    np.testing.assert_allclose(shot.pixels, sheet.pixels)
    assert shot.boxes == [[Rectangle(250, 20, 270, 60)]]


def test_boxes_follow_the_view() -> None:
    """In 50 random views, the digit is inside the picture, and its box fits its pixels to two pixels."""
    for seed in range(50):
        sheet = make_sheet()
        view = choose_view(sheet, 300, 200, 1.0, 15, 0.08, 0.1, np.random.default_rng(seed))
        shot = look(sheet, view)
        (box,) = shot.boxes[0]
        rows, columns = np.nonzero(shot.classes == DIGIT)
        seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert Rectangle(0, 0, 300, 200).contains(box)
        assert np.abs(np.subtract(seen, (box.left, box.top, box.right, box.bottom))).max() <= 2


def test_the_desk_is_seen_beside_the_sheet() -> None:
    """Where the sheet ends, the picture shows what is around it, and no class."""
    sheet = make_sheet()
    view = choose_view(sheet, 600, 400, 1.0, 0, 0, 0, np.random.default_rng(0))
    shot = look(sheet, view, np.full((400, 600, 3), 50, np.float32))
    assert (shot.pixels[:50, :50] < 52).all()
    assert (shot.pixels[290:300, 200:210] == 255).all()
    assert (shot.classes[:90] == 0).all()
