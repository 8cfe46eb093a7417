"""A sheet knows what each of its pixels is."""

import numpy as np
import pytest

from training.pages.sheet import BACKGROUND, DIGIT, OTHER_HANDWRITING, PRINT, Sheet

BLOCK = np.ones((4, 4), np.float32)


def make_sheet() -> Sheet:
    """Make a white sheet of 10x12 pixels."""
    return Sheet.of(np.full((10, 12, 3), 255, np.float32))


def test_paint_mixes_colours_by_coverage() -> None:
    """Half of black ink on white is grey; its class is that of the ink."""
    sheet = make_sheet()
    sheet.paint(BLOCK * np.float32(0.5), 3, 2, (0, 0, 0), PRINT)
    assert sheet.pixels[2:6, 3:7] == pytest.approx(127.5)
    assert (sheet.classes[2:6, 3:7] == PRINT).all()
    assert (sheet.classes == BACKGROUND).sum() == 10 * 12 - 16


def test_what_is_outside_is_lost() -> None:
    """Ink over an edge is cut, and ink beside the sheet changes nothing."""
    sheet = make_sheet()
    sheet.paint(BLOCK, -2, 8, (0, 0, 0), PRINT)
    sheet.paint(BLOCK, 40, 40, (0, 0, 0), PRINT)
    sheet.paint(BLOCK, -9, 0, (0, 0, 0), PRINT)
    assert (sheet.classes > 0).sum() == 4


def test_digits_win_over_print() -> None:
    """Where a digit and print overlap, the class is that of the digit, whichever was painted last."""
    sheet = make_sheet()
    sheet.paint(BLOCK, 0, 0, (0, 0, 0), PRINT)
    sheet.start_line()
    sheet.write(BLOCK, 7, 2, 2, (0, 0, 0))
    sheet.paint(BLOCK, 4, 4, (0, 0, 0), OTHER_HANDWRITING)
    assert (sheet.classes[2:6, 2:6] == DIGIT).all()
    assert sheet.digits == ["7"]


def test_faint_print_keeps_its_class() -> None:
    """A pale line is still print: only its coverage decides, not its opacity."""
    sheet = make_sheet()
    sheet.paint(BLOCK, 0, 0, (0, 0, 0), PRINT, opacity=0.1)
    assert (sheet.classes[:4, :4] == PRINT).all()
    assert sheet.pixels[0, 0, 0] == pytest.approx(229.5)
