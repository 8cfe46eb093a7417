"""Where outcomes are written as they come: standard output, or a file that a later run can go on with.

Outcomes are appended in order. Whenever the writer was killed, the file has all of them up to some moment, and perhaps
a part of the next, which is cut off by the run that goes on. Knows nothing of how an outcome comes to be.
"""

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from app.cli.image_files import Found
from app.errors import UsageError

Format = Literal["words", "json", "csv"]


class Outcome(NamedTuple):
    file: str
    answer: dict[str, Any] | None  # as POST /predict or POST /read answers it
    error: str | None = None  # why there is no answer

    def in_words(self) -> str:
        """This in a line."""
        if self.answer is None:
            return f"{self.file}: {self.error}\n"
        if self.answer["confidence"] is None:
            return f"{self.file}: nothing ({self.answer['reason']})\n"
        read = self.answer["text"].replace("\n", " ") if "text" in self.answer else self.answer["digit"]
        doubt = "" if self.answer["accepted"] else f"  not accepted: {self.answer['reason']}"
        return f"{self.file}: {read}  {self.answer['confidence']:.2%}{doubt}\n"

    def as_json(self) -> str:
        """This as a line of JSON: the file and the answer's own fields, or the file and the error."""
        return json.dumps({"file": self.file, **(self.answer or {"error": self.error})}) + "\n"

    def as_csv(self, columns: Sequence[str]) -> str:
        """This as a record of CSV."""
        values = {"file": self.file, "error": self.error, **(self.answer or {})}
        return csv_record([values.get(column) for column in columns])


def csv_record(values: Sequence[object]) -> str:
    """A record of CSV, as RFC 4180 quotes it; ``true`` and ``false`` as JSON has them, and nothing for None."""
    record = io.StringIO()
    plain = [str(value).lower() if isinstance(value, bool) else value for value in values]
    csv.writer(record, lineterminator="\r\n").writerow(plain)  # so that either in a value is quoted
    return record.getvalue().removesuffix("\r\n") + "\n"


@contextmanager
def open_output(
    file: Path | None, format: Format, whole_numbers: bool = False, resume: bool = False
) -> Iterator["Output"]:
    """Open a file, or standard output where there is none.

    Args:
        file: where to write to; made if it is not there.
        format: words are for people; a file of them cannot be gone on with.
        whole_numbers: whether the answers are those of ``POST /read``.
        resume: whether to go on with what is in the file already.

    Raises:
        UsageError: there is something in the file, and it is not to be gone on with, or cannot be.
        OSError: the file cannot be opened.
    """
    if file is None:
        yield Output(sys.stdout.buffer, format, whole_numbers)
        return
    with file.open("ab+") as stream:
        output = Output(stream, format, whole_numbers)
        if stream.tell() and not resume:
            raise UsageError(f"{file} is there already; --resume goes on with it")
        try:
            output.take_up()
        except (ValueError, csv.Error) as error:
            raise UsageError(f"{file} cannot be gone on with: {error}") from None
        yield output


class Output:
    """A stream that outcomes are written to."""

    def __init__(self, stream: BinaryIO, format: Format, whole_numbers: bool = False) -> None:
        self._stream, self._format = stream, format
        self._read = "text" if whole_numbers else "digit"
        self._columns = ("file", self._read, "confidence", "accepted", "reason", "error")
        self._head = csv_record(self._columns) if format == "csv" else ""  # until it is written, with the first outcome
        self._done: Counter[str] = Counter()  # a file may be named twice, and then has two outcomes
        self.written = 0  # outcomes, those of earlier runs included
        self.failed = 0  # of them without an answer

    def take_up(self) -> None:
        """Learn what an earlier run wrote, and cut off what it could not finish.

        Raises:
            ValueError, csv.Error: that is not what such a run writes.
        """
        self._stream.seek(0)
        end = 0
        for after, file, failed in self._csv() if self._format == "csv" else self._json():
            end = after
            if file is not None:
                self._done[file] += 1
                self.written += 1
                self.failed += failed
        self._stream.truncate(end)
        if end:
            self._head = ""

    def missing(self, found: Iterable[Found]) -> Iterator[Found]:
        """Leave out the files that earlier runs have done."""
        for each in found:
            if self._done[each.file]:
                self._done[each.file] -= 1
            else:
                yield each

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Write these, and hand them to the system at once. In words, what has no answer goes to standard error."""
        self.written += len(outcomes)
        self.failed += sum(outcome.answer is None for outcome in outcomes)
        told, self._head = self._head + "".join(map(self._told, outcomes)), ""
        self._stream.write(told.encode(errors="surrogateescape"))  # names of files that are no UTF-8 stay as they are
        self._stream.flush()

    def _told(self, outcome: Outcome) -> str:
        if self._format == "json":
            return outcome.as_json()
        if self._format == "csv":
            return outcome.as_csv(self._columns)
        if outcome.answer is None:
            sys.stderr.write(outcome.in_words())
            return ""
        return outcome.in_words()

    def _json(self) -> Iterator[tuple[int, str, bool]]:
        """Each whole line: where it ends, in bytes, its file, and whether that has no answer."""
        end = 0
        for line in self._stream:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            row = json.loads(line)
            if not isinstance(row, dict) or "file" not in row or not row.keys() & {self._read, "error"}:
                raise ValueError(f"a line of it has no file with a {self._read}")
            yield end, row["file"], "error" in row

    def _csv(self) -> Iterator[tuple[int, str | None, bool]]:
        """The same of each whole record; the header has no file."""
        end, at_end = 0, False

        def lines() -> Iterator[str]:
            nonlocal end, at_end
            for line in self._stream:
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                yield line.decode(errors="surrogateescape")
            at_end = True

        records = csv.reader(lines(), strict=True)
        try:
            header = next(records, None)
            if header is None:
                return
            if tuple(header) != self._columns:
                raise ValueError(f"its first line is not {','.join(self._columns)}")
            yield end, None, False
            for record in records:
                if len(record) != len(self._columns):
                    raise ValueError(f"line {records.line_num} has not {len(self._columns)} fields")
                yield end, record[0], bool(record[-1])
        except csv.Error:
            if not at_end:  # else the record is torn within quotes
                raise
