"""Seams: where touching digits are cut apart."""

import numpy as np

from app.imaging.seams import find_seams


def test_a_seam_goes_between_two_strokes_that_touch() -> None:
    """Between two thick bars with a thin bridge, the cheapest seam crosses only the bridge, and costs accordingly."""
    mask = np.zeros((60, 70), np.uint8)
    mask[:, :20] = mask[:, 50:] = 1
    mask[28:31, 20:50] = 1
    seams = find_seams(mask.astype(np.float32), 60)
    columns, cost = min(seams, key=lambda seam: seam.cost)
    assert columns.shape == (60,)
    assert ((columns >= 20) & (columns <= 50)).all()
    assert 0 < cost < 0.5 * max(seam.cost for seam in seams)


def test_a_seam_leans_where_the_strokes_do() -> None:
    """Two slanted bars with no empty column between them are separated almost without cutting ink."""
    mask = np.zeros((60, 90), np.uint8)
    for row in range(60):
        mask[row, 40 - row // 2 : 52 - row // 2] = mask[row, 60 - row // 2 : 72 - row // 2] = 1
    assert np.flatnonzero(mask.any(axis=0)).size == 61  # no empty column
    columns, _ = min(
        find_seams(mask.astype(np.float32), 60), key=lambda seam: mask[np.arange(60), seam.columns.clip(0, 89)].sum()
    )
    assert mask[np.arange(60), columns.clip(0, 89)].sum() <= 2
