"""Writes the results of ``digitserve bulk`` to a folder of Parquet files that a later run can continue.

Only the process that started the job writes, so no result is written twice, whatever happens to the cluster. A file
gets its final name when it is complete.
"""

from pathlib import Path
from time import monotonic
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.cli.results import ACCEPTED, FAILED, Tally
from app.errors import CommandError, UsageError

ROWS_PER_FILE = 1_000_000
UNREADABLE = "unreadable"  # the reason for a picture that could not be read; the column error says more
SECONDS_PER_FILE = 300.0  # a killed run loses at most the results of this time


def make_schema(whole_numbers: bool) -> pa.Schema:
    """Return the columns of the results."""
    answer = ("text", pa.string()) if whole_numbers else ("digit", pa.int8())
    rest = [("confidence", pa.float32()), ("accepted", pa.bool_()), ("reason", pa.string()), ("error", pa.string())]
    return pa.schema([("path", pa.string()), answer, *rest])


class ParquetOutput(Tally):
    """A folder of results.

    Args:
        folder: It is created if it does not exist.
        whole_numbers: Whether the answers are numbers.
        resume: Whether to continue earlier results.

    Raises:
        UsageError: The folder has results that are not to be continued, or results of another kind.
        CommandError: The folder cannot be used.
    """

    def __init__(self, folder: Path, whole_numbers: bool, resume: bool) -> None:
        super().__init__()
        self._folder, self._schema = folder, make_schema(whole_numbers)
        self._writer: pq.ParquetWriter | None = None
        self._rows, self._opened = 0, 0.0
        self.done: set[str] = set()  # the pictures that earlier runs have read
        try:
            folder.mkdir(parents=True, exist_ok=True)
            earlier = sorted(folder.glob("part-*.parquet"))
            if earlier and not resume:
                raise UsageError(f"{folder} already has results; --resume continues them")
            for file in earlier:
                self._load(file)
            for unfinished in folder.glob(".part-*"):
                unfinished.unlink()
        except OSError as error:
            raise CommandError(f"{folder}: {error.strerror or error}") from None
        self._next_number = int(earlier[-1].stem.removeprefix("part-")) + 1 if earlier else 0

    def __enter__(self) -> "ParquetOutput":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, table: pa.Table) -> None:
        """Write results in the columns of the schema."""
        path = self._part(".part-")
        if self._writer is None:
            self._writer, self._rows, self._opened = pq.ParquetWriter(path, self._schema), 0, monotonic()
        self._writer.write_table(table)
        self._rows += len(table)
        self._count(table)
        if self._rows >= ROWS_PER_FILE or monotonic() - self._opened >= SECONDS_PER_FILE:
            self.close()

    def close(self) -> None:
        """Complete the file that is being written."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._part(".part-").replace(self._part("part-"))
            self._next_number += 1

    def _part(self, prefix: str) -> Path:
        return self._folder / f"{prefix}{self._next_number:05}.parquet"

    def _load(self, file: Path) -> None:
        table = pq.read_table(file)
        if table.schema != self._schema:
            raise UsageError(f"{file} has other columns: {', '.join(table.schema.names)}")
        self.done.update(table["path"].to_pylist())
        self._count(table)

    def _count(self, table: pa.Table) -> None:
        for each in pc.value_counts(table["reason"]).to_pylist():
            verdict = ACCEPTED if each["values"] is None else FAILED if each["values"] == UNREADABLE else each["values"]
            self._verdicts[verdict] += each["counts"]
