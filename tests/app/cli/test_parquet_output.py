"""The results of ``digitserve bulk`` survive interruptions, and a later run continues them."""

from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install -e '.[ray]'")
pq = pytest.importorskip("pyarrow.parquet")

from app.cli import parquet_output  # noqa: E402
from app.cli.parquet_output import ParquetOutput, make_schema  # noqa: E402
from app.errors import CommandError, UsageError  # noqa: E402

SEVEN = {"digit": 7, "confidence": 0.99, "accepted": True}
BLANK = {"accepted": False, "reason": "blank"}
BROKEN = {"accepted": False, "reason": "unreadable", "error": "The image is incomplete."}


def make_table(rows: dict[str, dict[str, Any]]) -> Any:
    return pa.Table.from_pylist([{"path": path, **row} for path, row in rows.items()], make_schema(False))


def test_results_are_counted_and_complete(tmp_path: Path) -> None:
    """All rows are in one file, and the summary says what became of the pictures."""
    with ParquetOutput(tmp_path / "out", whole_numbers=False, resume=False) as output:
        output.write(make_table({"a.png": SEVEN, "b.png": BLANK}))
        output.write(make_table({"c.png": BROKEN}))
    assert (output.count, output.failed) == (3, 1)
    assert output.summarize("; see the column error") == (
        "2 of 3 files read: 1 accepted, 1 blank. 1 could not be read; see the column error"
    )
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["part-00000.parquet"]
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert [row["path"] for row in rows] == ["a.png", "b.png", "c.png"]
    assert rows[0] == {"path": "a.png", **SEVEN, "confidence": pytest.approx(0.99), "reason": None, "error": None}


def test_a_later_run_continues_after_the_complete_files(tmp_path: Path) -> None:
    """It knows which pictures are done, counts them, and removes a file that was never completed."""
    with ParquetOutput(tmp_path, whole_numbers=False, resume=True) as first:
        first.write(make_table({"a.png": SEVEN}))
    (tmp_path / ".part-00001.parquet").write_bytes(b"PAR1 incomplete")
    with ParquetOutput(tmp_path, whole_numbers=False, resume=True) as second:
        assert (second.done, second.count) == ({"a.png"}, 1)
        second.write(make_table({"b.png": BROKEN}))
    assert (second.count, second.failed) == (2, 1)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["part-00000.parquet", "part-00001.parquet"]


def test_a_file_is_completed_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed run keeps what was written until then."""
    monkeypatch.setattr(parquet_output, "ROWS_PER_FILE", 2)
    output = ParquetOutput(tmp_path, whole_numbers=False, resume=False)
    output.write(make_table({"a.png": SEVEN, "b.png": SEVEN}))
    output.write(make_table({"c.png": SEVEN}))
    assert [len(pq.read_table(file)) for file in tmp_path.glob("part-*")] == [2]
    output.close()


def test_earlier_results_are_not_overwritten(tmp_path: Path) -> None:
    """Without ``--resume``, and for answers of another kind, the run is refused."""
    with ParquetOutput(tmp_path, whole_numbers=False, resume=False) as output:
        output.write(make_table({"a.png": SEVEN}))
    with pytest.raises(UsageError, match="already has results; --resume continues them"):
        ParquetOutput(tmp_path, whole_numbers=False, resume=False)
    with pytest.raises(UsageError, match="has other columns: path, digit"):
        ParquetOutput(tmp_path, whole_numbers=True, resume=True)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error names the folder."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CommandError, match="file/out"):
        ParquetOutput(tmp_path / "file" / "out", whole_numbers=False, resume=False)
