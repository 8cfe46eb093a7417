"""Swiss scans are read by writer, and prepared as the service prepares pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from app.recognition.digit import prepare_file
from tests.support.pictures import png
from tests.support.small_scans import SCANS, draw_scan, write_scans
from training.data.swiss import HELD_OUT_WRITERS, TRAINING_WRITERS, load, read_scans
from training.errors import DataError


def test_writers_are_kept_apart(tmp_path: Path) -> None:
    """Each group of writers gets its own scans alone. No writer is in both groups, and there are twelve."""
    write_scans(tmp_path)
    assert load(tmp_path, TRAINING_WRITERS).labels.tolist() == [3, 7]
    assert load(tmp_path, HELD_OUT_WRITERS).labels.tolist() == [2, 5]
    assert [writer for writer, _, _ in read_scans(tmp_path, ["0001"])] == ["0001", "0001"]
    assert len({*TRAINING_WRITERS, *HELD_OUT_WRITERS}) == len(TRAINING_WRITERS) + len(HELD_OUT_WRITERS) == 12


def test_digits_are_prepared_as_the_service_prepares_them(tmp_path: Path) -> None:
    """Dark ink on white paper becomes what the service would give the network: 28x28, light ink on black."""
    write_scans(tmp_path)
    digits = load(tmp_path, TRAINING_WRITERS)
    assert (digits.images.dtype, digits.images.shape) == (torch.uint8, (2, 28, 28))
    assert digits.labels.dtype == torch.int64
    for image, text in zip(digits.images.numpy(), "37", strict=True):
        np.testing.assert_array_equal(image, prepare_file(png(draw_scan(text)), 95 * 95).pixels)
        assert image[:2].max() < 30 < 200 < image.max()


@pytest.mark.parametrize("text", ["17", ""], ids=["two digits", "blank"])
def test_a_scan_without_exactly_one_digit_is_left_out(text: str, tmp_path: Path) -> None:
    """The service answers such a picture without a network, so it teaches none. The other scans stay."""
    write_scans(tmp_path, {**SCANS, "0001_CH4M/1/number-9.png": text})
    assert load(tmp_path, TRAINING_WRITERS).labels.tolist() == [3, 7]
    assert len(list(read_scans(tmp_path, TRAINING_WRITERS))) == 3


def test_files_that_are_not_scans_are_ignored(tmp_path: Path) -> None:
    """Folders, notes and licences in the archive are no scans."""
    write_scans(tmp_path, {**SCANS, "0001_CH4M/": "", "0001_CH4M/3/": "", "0001_CH4M/3/note.txt": "x", "README": "x"})
    assert load(tmp_path, TRAINING_WRITERS).labels.tolist() == [3, 7]


def test_a_missing_collection_is_named(tmp_path: Path) -> None:
    """The error says which file is missing, and which collection it is."""
    with pytest.raises(DataError, match=r"swiss/scans\.zip is missing.*kensanata/numbers"):
        load(tmp_path, TRAINING_WRITERS)


def test_a_collection_without_digits_of_the_writers_is_an_error(tmp_path: Path) -> None:
    """The error names the file and the writers."""
    write_scans(tmp_path, {"0001_CH4M/1/number-9.png": "17"})
    with pytest.raises(DataError, match=r"scans\.zip has no digits of the writers 0001"):
        load(tmp_path, TRAINING_WRITERS)
